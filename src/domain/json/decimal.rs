//! Numbers as JSON writes them, compared by their value, digit by digit.

use std::cmp::Ordering;

/// A decimal number: its digits as they were written, and where its point is.
#[derive(Copy, Clone, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Exponents beyond this count as this: there is no memory for the digits that they stand for.
const MOST_EXPONENT: i64 = 1_000_000_000_000_000;

impl<'a> Decimal<'a> {
    /// `None` when the text is not one number of JSON.
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        if length(bytes) != Some(bytes.len()) {
            return None;
        }
        let negative = bytes[0] == b'-';
        let digits = &bytes[usize::from(negative)..];
        let mark = |byte: &u8| matches!(byte, b'e' | b'E');
        let mantissa_length = digits.iter().position(mark).unwrap_or(digits.len());
        let (mantissa, power) = digits.split_at(mantissa_length);
        let point = mantissa.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = mantissa.split_at(point.unwrap_or(mantissa.len()));
        Some(Self {
            negative,
            whole,
            fraction: fraction.get(1..).unwrap_or_default(),
            exponent: power.get(1..).map_or(0, exponent_of),
        })
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).copied()
    }

    /// The place of the first digit that is not zero, counted in digits and as a power of ten; `None` for zero.
    fn leading(&self) -> Option<(usize, i64)> {
        let at = self.digits().position(|digit| digit != b'0')?;
        let power = self.whole.len() as i64 - 1 - at as i64;
        Some((at, power + self.exponent))
    }

    /// How many digits there are from the first to the last that is not zero.
    fn significant(&self) -> usize {
        let Some((first, _)) = self.leading() else {
            return 0;
        };
        let zeros = |digits: &[u8]| digits.iter().rev().take_while(|digit| **digit == b'0').count();
        let trailing = match zeros(self.fraction) {
            all if all == self.fraction.len() => all + zeros(self.whole),
            some => some,
        };
        self.whole.len() + self.fraction.len() - first - trailing
    }

    /// Compares the values: `1.10` is `1.1`, `1e2` is `100`, `-0` is `0`. Takes time by the digits, whatever the
    /// exponents.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (left, right) = match (self.leading(), other.leading()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return other.sign(),
            (Some(_), None) => return self.sign().reverse(),
            (Some(left), Some(right)) => (left, right),
        };
        if self.negative != other.negative {
            return self.sign().reverse();
        }
        let (from_left, from_right) = (self.digits().skip(left.0), other.digits().skip(right.0));
        let size = left.1.cmp(&right.1).then_with(|| by_digit(from_left, from_right));
        if self.negative { size.reverse() } else { size }
    }

    /// Zero, compared to a number of this sign.
    const fn sign(&self) -> Ordering {
        if self.negative {
            Ordering::Greater
        } else {
            Ordering::Less
        }
    }
}

fn by_digit(mut left: impl Iterator<Item = u8>, mut right: impl Iterator<Item = u8>) -> Ordering {
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => left.unwrap_or(b'0').cmp(&right.unwrap_or(b'0')),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn exponent_of(text: &[u8]) -> i64 {
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let size = digits.fold(0_i64, |size, digit| {
        (size * 10 + i64::from(digit - b'0')).min(MOST_EXPONENT)
    });
    if negative { -size } else { size }
}

/// The bytes of the number of JSON that the text begins with.
pub fn length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += 1 + fraction;
        if fraction == 0 {
            return None;
        }
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let signed = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at += 1 + usize::from(signed);
        let exponent = digits(at);
        at += exponent;
        if exponent == 0 {
            return None;
        }
    }
    Some(at)
}

/// Whether digits have neither a fraction nor an exponent.
pub fn is_whole(digits: &str) -> bool {
    !digits.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// The double that has the same value as these digits ([`written`]). `None` when there is none, so that a double would
/// be another number.
pub fn exact_double(digits: &str) -> Option<f64> {
    /// Digits that any double keeps.
    const KEPT: i64 = 15;
    let decimal = Decimal::parse(digits)?;
    let double: f64 = digits.parse().ok()?;
    let Some((_, power)) = decimal.leading() else {
        return Some(double);
    };
    if decimal.significant() as i64 <= KEPT && (-300..KEPT).contains(&power) {
        return Some(double);
    }
    let written = written(double)?;
    let same = Decimal::parse(&written)?.compare(&decimal) == Ordering::Equal;
    same.then_some(double)
}

/// The decimal form by which a double is compared: the shortest that reads back as the same double, and all of its
/// digits where it is beyond the range of exact whole numbers. `None` when it is not finite.
pub fn written(double: f64) -> Option<String> {
    if !double.is_finite() {
        return None;
    }
    Some(if double.abs() < EXACT {
        format!("{double:e}")
    } else {
        format!("{double:.0}")
    })
}

/// Up to here a double holds every whole number.
pub const EXACT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

/// Compares two numbers by their digits.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    Some(Decimal::parse(left)?.compare(&Decimal::parse(right)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_compare_by_their_value_whatever_their_digits() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("1.10", "1.1", Equal),
            ("1e2", "100", Equal),
            ("100e-2", "1", Equal),
            ("-0", "0.00", Equal),
            ("0e999999999999999999999", "0", Equal),
            ("9007199254740993", "9007199254740992.0", Greater),
            ("18446744073709551617", "18446744073709551616", Greater),
            ("-18446744073709551617", "-18446744073709551616", Less),
            ("0.1", "0.10000000000000000001", Less),
            ("-0.1", "0.1", Less),
            ("0", "-1", Greater),
            ("0", "1e-400", Less),
            ("1e400", "1e399", Greater),
            ("1e400", "10e399", Equal),
            ("0.001e3", "1", Equal),
            ("1e999999999999999999999", "2e9", Greater),
        ] {
            assert_eq!(compare(left, right), Some(order), "{left} {right}");
            assert_eq!(compare(right, left), Some(order.reverse()), "{right} {left}");
        }
    }

    #[test]
    fn a_double_stands_for_digits_only_where_it_is_the_same_number() {
        for same in [
            "1.10",
            "0.1",
            "1e22",
            "0.30000000000000004",
            "-0.0",
            "1e20",
            "5e-324",
        ] {
            assert_eq!(exact_double(same), same.parse().ok(), "{same}");
        }
        for other in [
            "18446744073709551617",
            "1e23",
            "9007199254740993.0",
            "0.1234567890123456789",
            "1e400",
            "1e-400",
            "12345678.123456789012345",
        ] {
            assert_eq!(exact_double(other), None, "{other}");
        }
        for bad in ["", "-", "01", "1.", ".1", "1e", "+1", "1e+", "NaN", "1 "] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_exponent_costs_nothing() {
        let (long, short) = (
            format!("1e{}", "9".repeat(100_000)),
            format!("1e-{}", "9".repeat(100_000)),
        );
        assert_eq!(compare(&long, &short), Some(Ordering::Greater));
        assert_eq!(exact_double(&long), None);
    }

    proptest! {
        #[test]
        fn decimals_compare_as_integers_do(left in any::<i64>(), right in any::<i64>(), point in 0_i32..20) {
            let written = |number: i64| format!("{number}e-{point}");
            prop_assert_eq!(compare(&written(left), &written(right)), Some(left.cmp(&right)));
        }

        #[test]
        fn every_double_is_the_number_that_it_is_written_as(bits in any::<u64>()) {
            let double = f64::from_bits(bits);
            if let Some(written) = written(double) {
                prop_assert_eq!(exact_double(&written), Some(double));
            }
        }
    }
}
