//! Query parameters: taken by name, each once; what is left over is refused by name.

use std::{convert::Infallible, fmt::Display, ops::RangeInclusive, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};

use super::problem::{Kind, Problem};
use crate::{dispatch::view::Page, domain::limits};

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl Params {
    pub fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Takes the value of a parameter, if it is there.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter, when it is there twice or its value does not read.
    pub fn take<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(place) = self.0.iter().position(|(other, _)| other == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(place);
        if self.0.iter().any(|(other, _)| other == name) {
            return Err(refused(name, "is there twice; give it once"));
        }
        value.parse().map(Some).map_err(|error: T::Err| {
            if means_plus::<T>(&value) {
                return refused(name, UNESCAPED_PLUS);
            }
            refused(name, &error.to_string())
        })
    }

    /// Takes a whole number within a range.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter and the range.
    pub fn take_whole<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.take::<String>(name)? else {
            return Ok(None);
        };
        let (least, most) = (range.start(), range.end());
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(refused(
                name,
                &format!("use a whole number; the range is {least} to {most}"),
            )),
        }
    }

    /// Takes one of a list of words.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter and the words.
    pub fn take_word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(value) = self.take::<String>(name)? else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(refused(name, &format!("use one of {}", names.join(", "))))
            }
        }
    }

    /// Takes all values of a parameter that may be there several times.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter, when there are more than `most`, or one does not read.
    pub fn take_all<T: FromStr<Err: Display>>(&mut self, name: &str, most: usize) -> Result<Vec<T>, Problem> {
        let (own, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition::<Vec<_>, _>(|(other, _)| other == name);
        self.0 = others;
        if own.len() > most {
            return Err(refused(name, &format!("is there too often; the most is {most}")));
        }
        let read = own.iter().map(|(_, value)| value.parse());
        read.collect::<Result<_, T::Err>>()
            .map_err(|error| refused(name, &error.to_string()))
    }

    /// Takes `limit`, `cursor` and `order`.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter and its range.
    pub fn take_page(&mut self) -> Result<Page, Problem> {
        let limit = self.take_whole("limit", 1..=limits::PAGE_MAX)?;
        let limit = limit.unwrap_or(limits::PAGE_DEFAULT);
        let ascending = self
            .take_word("order", &[("asc", true), ("desc", false)])?
            .unwrap_or(false);
        Ok(Page {
            limit,
            cursor: self.take("cursor")?,
            ascending,
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Kind::InvalidQuery`] naming a parameter that nothing asked for.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(refused(name, "is not a parameter of this route; leave it out")),
        }
    }
}

/// In a query a plus sign stands for a space, which surprises whoever writes a time with an offset.
const UNESCAPED_PLUS: &str = "has a space where a plus sign was meant: in a query + stands for a space; write %2B, as in 05:30:00%2B01:00";

/// Whether a value that does not read would, had its plus signs not become spaces.
fn means_plus<T: FromStr>(value: &str) -> bool {
    value.contains(' ') && value.replace(' ', "+").parse::<T>().is_ok()
}

fn refused(name: &str, rule: &str) -> Problem {
    Problem::of_field(Kind::InvalidQuery, name, rule)
}

/// A route that takes no query parameter.
pub struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Params::of(&parts.uri).finish()?;
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{id::EndpointId, time::Timestamp};

    fn params(query: &str) -> Params {
        Params::of(&format!("/v1/x?{query}").parse().unwrap())
    }

    fn page(query: &str) -> Result<Page, Problem> {
        params(query).take_page()
    }

    #[test]
    fn a_page_has_a_default_and_a_range() {
        let plain = page("").unwrap();
        assert_eq!((plain.limit, plain.ascending, plain.cursor), (50, false, None));
        let asked = page("limit=500&order=asc&cursor=a%2Bb").unwrap();
        assert_eq!(
            (asked.limit, asked.ascending, asked.cursor.as_deref()),
            (500, true, Some("a+b"))
        );
        for bad in [
            "limit=0",
            "limit=501",
            "limit=-1",
            "limit=x",
            "limit=",
            "order=up",
            "limit=1&limit=2",
        ] {
            assert_eq!(page(bad).unwrap_err().kind(), Kind::InvalidQuery, "{bad}");
        }
        for bad in ["limit=x", "limit=-1", "limit=1e9", "limit=99999999999999999999"] {
            let rule = page(bad).unwrap_err().errors()[0].rule.clone();
            assert_eq!(rule, "use a whole number; the range is 1 to 500", "{bad}");
        }
    }

    #[test]
    fn a_parameter_that_may_be_there_several_times_is_taken_whole() {
        let mut several = params("n=1&x=2&n=3");
        assert_eq!(several.take_all::<u8>("n", 2).unwrap(), [1, 3]);
        assert!(several.take_all::<u8>("n", 2).unwrap().is_empty());
        assert_eq!(several.finish().unwrap_err().errors()[0].field, "x");
        assert!(params("n=1&n=2&n=3").take_all::<u8>("n", 2).is_err());
        assert!(params("n=1&n=x").take_all::<u8>("n", 2).is_err());
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        let mut params = params("limit=5&lmit=6");
        params.take_page().unwrap();
        assert_eq!(params.finish().unwrap_err().errors()[0].field, "lmit");
    }

    #[test]
    fn a_value_that_does_not_read_is_refused_by_name() {
        let problem = params("endpoint=evt_1")
            .take::<EndpointId>("endpoint")
            .unwrap_err();
        assert_eq!(problem.errors()[0].field, "endpoint");
        assert!(
            params("since=%ff")
                .take::<crate::domain::time::Timestamp>("since")
                .is_err()
        );
        assert_eq!(params("").take::<EndpointId>("endpoint").unwrap(), None);
    }

    #[test]
    fn a_plus_sign_that_became_a_space_is_explained() {
        let since = |query: &str| params(query).take::<Timestamp>("since");
        let rule = |query: &str| since(query).unwrap_err().errors()[0].rule.clone();
        for plain in [
            "since=2026-01-01T00:00:00+00:00",
            "since=2026-01-01T00:00:00+0530",
            "since=2026-01-01T00:00:00%20%30%30:00",
        ] {
            assert!(rule(plain).contains("%2B"), "{plain}");
        }
        assert!(since("since=2026-01-01T00:00:00%2B01:00").unwrap().is_some());
        assert!(since("since=2026-01-01+00:00:00Z").unwrap().is_some());
        assert!(!rule("since=last+week").contains("%2B"));
        let page = params("cursor=a+b").take_page().unwrap();
        assert_eq!(page.cursor.as_deref(), Some("a b"));
    }
}
