//! Numbers of any kind, compared by their exact values.

use std::{borrow::Cow, cmp::Ordering};

use super::decimal;

/// A number: of the document, or of whoever calculates.
#[derive(Clone, Debug)]
pub enum Number<'a> {
    Whole(i128),
    /// Compares as it is [`written`](decimal::written).
    Double(f64),
    /// Digits as JSON has them.
    Digits(Cow<'a, str>),
}

impl Number<'_> {
    /// `None` when one of them is a NaN, or no digits.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(right)),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(right),
            (Self::Whole(left), Self::Double(right)) => whole_and_double(*left, *right),
            (Self::Digits(left), Self::Digits(right)) => decimal::compare(left, right),
            (Self::Digits(left), Self::Whole(right)) => decimal::compare(left, &right.to_string()),
            (Self::Digits(left), Self::Double(right)) => match decimal::written(*right) {
                Some(right) => decimal::compare(left, &right),
                None => 0.0.partial_cmp(right),
            },
            (Self::Double(_), Self::Whole(_)) | (_, Self::Digits(_)) => {
                other.compare(self).map(Ordering::reverse)
            }
        }
    }
}

fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    const EXACT: i128 = decimal::EXACT as i128;
    if !double.is_finite() || (-EXACT..=EXACT).contains(&whole) {
        return (whole as f64).partial_cmp(&double);
    }
    decimal::compare(&whole.to_string(), &decimal::written(double)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_and_doubles_compare_without_rounding() {
        use Ordering::{Equal, Greater, Less};
        let compare = |whole, double| Number::Whole(whole).compare(&Number::Double(double));
        assert_eq!(
            compare(9_007_199_254_740_993, 9_007_199_254_740_992.0),
            Some(Greater)
        );
        assert_eq!(
            compare(9_007_199_254_740_992, 9_007_199_254_740_992.0),
            Some(Equal)
        );
        assert_eq!(compare(1, 1.5), Some(Less));
        assert_eq!(compare(1, f64::NAN), None);
        assert_eq!(compare(i128::MAX, f64::INFINITY), Some(Less));
        let digits = Number::Digits(Cow::Borrowed("1e400"));
        assert_eq!(digits.compare(&Number::Double(f64::INFINITY)), Some(Less));
        assert_eq!(Number::Whole(i128::MIN).compare(&digits), Some(Less));
    }
}
