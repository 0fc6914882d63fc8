//! What handlers take from a request and give back: ids from paths, JSON bodies, JSON answers.

use std::{fmt::Display, str::FromStr};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::request::Parts,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    body,
    json::{self, Shape},
    media,
    meter::Meter,
    problem::{Kind, Problem},
    router::Api,
};

/// What every handler answers.
pub type Answer<T> = Result<T, Problem>;

/// The `{id}` of a path.
pub struct Id<T>(pub T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::InvalidId, "the id in the path is not UTF-8"))?;
        path.parse()
            .map(Self)
            .map_err(|error: T::Err| Problem::of_field(Kind::InvalidId, "id", error.to_string()))
    }
}

/// A JSON body: as `T`, and as it came. It names no member twice.
pub struct Document<T>(pub T, pub Map<String, Value>);

impl<T: Shape> FromRequest<Api> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        media::json(request.headers())?;
        let (mut parts, body) = request.into_parts();
        let meter = Meter::from_request_parts(&mut parts, api).await?;
        let bytes = body::read_whole(&meter, &parts.headers, body, api.limits.payload).await?;
        let (document, value) = json::read_strictly(&bytes)?;
        Ok(Self(document, value))
    }
}

/// A JSON body that may be left out.
pub struct OptionalDocument<T>(pub T);

impl<T: Shape + Default> FromRequest<Api> for OptionalDocument<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let meter = Meter::from_request_parts(&mut parts, api).await?;
        let bytes = body::read_whole(&meter, &parts.headers, body, api.limits.payload).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        media::json(&parts.headers)?;
        Ok(Self(json::read_alone(&bytes)?))
    }
}

/// Rows that are not paged, in the form of those that are.
#[derive(Serialize)]
pub struct All<T> {
    data: Vec<T>,
    next: Option<String>,
}

/// All there is, as a list of one page.
pub fn all<T>(data: Vec<T>) -> Json<All<T>> {
    Json(All { data, next: None })
}
