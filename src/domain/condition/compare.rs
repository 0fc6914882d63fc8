//! Comparisons by exact value: the library's own round whole numbers to doubles first.
//!
//! They stand in for the operators: `guard` writes a call of `@equals(@meter, a, b)` where `a == b` was. It pays for both
//! values by their size first.

use std::{borrow::Cow, cmp::Ordering};

use cel::{
    ExecutionError,
    common::{
        ast::operators,
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelUInt},
        value::{CowVal, Val},
    },
};

use super::{
    env::{broke, budget, weigh},
    values::{Digits, HalfText},
};
use crate::domain::json::number::Number;

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;
pub(super) type Function = for<'b, 'v> fn(Args<'b, 'v>) -> Answer<'b, 'v>;

/// Each operator that compares, the name of the function that stands in for it, and that function.
pub(super) const STAND_INS: [(&str, &str, Function); 7] = [
    (operators::EQUALS, "@equals", |args| {
        decide(&args, |left, right| equal(left, right))
    }),
    (operators::NOT_EQUALS, "@not_equals", |args| {
        decide(&args, |left, right| Ok(!equal(left, right)?))
    }),
    (operators::LESS, "@less", |args| {
        decide(&args, |left, right| {
            Ok(order(operators::LESS, left, right)?.is_lt())
        })
    }),
    (operators::LESS_EQUALS, "@less_equals", |args| {
        decide(&args, |left, right| {
            Ok(order(operators::LESS_EQUALS, left, right)?.is_le())
        })
    }),
    (operators::GREATER, "@greater", |args| {
        decide(&args, |left, right| {
            Ok(order(operators::GREATER, left, right)?.is_gt())
        })
    }),
    (operators::GREATER_EQUALS, "@greater_equals", |args| {
        decide(&args, |left, right| {
            Ok(order(operators::GREATER_EQUALS, left, right)?.is_ge())
        })
    }),
    (operators::IN, "@within", |args| decide(&args, within)),
];

fn decide<'b, 'v>(
    args: &[CowVal<'b, 'v>],
    by: impl Fn(&dyn Val, &dyn Val) -> Result<bool, ExecutionError>,
) -> Answer<'b, 'v> {
    let [meter, left, right] = args else {
        return Err(broke());
    };
    let budget = budget(meter.as_ref())?;
    for value in [left, right] {
        weigh(value.as_ref(), budget).map_err(|_| broke())?;
    }
    Ok(CowVal::owned(CelBool::from(by(left.as_ref(), right.as_ref())?)))
}

/// Whether two values are the same, all that they hold included. Where something in them differs they are not,
/// whatever else in them cannot be read.
///
/// # Errors
/// When that is up to a text that cannot be read.
pub(super) fn equal(left: &dyn Val, right: &dyn Val) -> Result<bool, ExecutionError> {
    if let Some(order) = numbers(left, right) {
        return Ok(order == Some(Ordering::Equal));
    }
    if is_half(left) || is_half(right) {
        return Err(HalfText::error());
    }
    if let (Some(left), Some(right)) = (left.downcast_ref::<CelList>(), right.downcast_ref::<CelList>()) {
        let (left, right) = (left.inner(), right.inner());
        let pairs = left.iter().zip(right).map(|pair| Some((&**pair.0, &**pair.1)));
        return if left.len() == right.len() {
            all_equal(pairs)
        } else {
            Ok(false)
        };
    }
    if let (Some(left), Some(right)) = (left.downcast_ref::<CelMap>(), right.downcast_ref::<CelMap>()) {
        let (left, right) = (left.inner(), right.inner());
        let pairs = left
            .iter()
            .map(|(name, value)| right.get(name).map(|other| (&**value, &**other)));
        return if left.len() == right.len() {
            all_equal(pairs)
        } else {
            Ok(false)
        };
    }
    Ok(left.equals(right))
}

/// Whether there are two values each time, and they are the same. A map gives its members in any order, so an error
/// counts only when nothing differs.
fn all_equal<'b, 'v: 'b>(
    pairs: impl Iterator<Item = Option<(&'b (dyn Val + 'v), &'b (dyn Val + 'v))>>,
) -> Result<bool, ExecutionError> {
    let mut said = Ok(true);
    for pair in pairs {
        match pair.map_or(Ok(false), |(left, right)| equal(left, right)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => said = Err(error),
        }
    }
    said
}

fn order(operator: &str, left: &dyn Val, right: &dyn Val) -> Result<Ordering, ExecutionError> {
    let numbers = numbers(left, right);
    if numbers.is_none() && (is_half(left) || is_half(right)) {
        return Err(HalfText::error());
    }
    let other = || left.as_comparer()?.compare(right).ok();
    let order = numbers.unwrap_or_else(other);
    order.ok_or_else(|| no_overload(operator, left, right))
}

fn within(value: &dyn Val, container: &dyn Val) -> Result<bool, ExecutionError> {
    if is_half(value) || is_half(container) {
        return Err(HalfText::error());
    }
    let Some(list) = container.downcast_ref::<CelList>() else {
        return container
            .as_container()
            .and_then(|container| container.contains(value).ok())
            .ok_or_else(|| no_overload(operators::IN, value, container));
    };
    let mut said = Ok(false);
    for item in list.inner() {
        match equal(value, item.as_ref()) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => said = Err(error),
        }
    }
    said
}

fn no_overload(operator: &str, left: &dyn Val, right: &dyn Val) -> ExecutionError {
    let types = [left, right].map(|value| value.get_type().name().to_owned());
    ExecutionError::no_such_overload(operator, types.to_vec())
}

fn is_half(value: &dyn Val) -> bool {
    value.downcast_ref::<HalfText>().is_some()
}

/// How two numbers compare, a NaN with nothing; `None` when one of the values is no number.
#[expect(clippy::option_option, reason = "no number, and no order, are two things")]
pub(super) fn numbers(left: &dyn Val, right: &dyn Val) -> Option<Option<Ordering>> {
    Some(number(left)?.compare(&number(right)?))
}

fn number<'a>(value: &'a (dyn Val + '_)) -> Option<Number<'a>> {
    if let Some(number) = value.downcast_ref::<CelInt>() {
        return Some(Number::Whole(i128::from(*number.inner())));
    }
    if let Some(number) = value.downcast_ref::<CelDouble>() {
        return Some(Number::Double(*number.inner()));
    }
    if let Some(number) = value.downcast_ref::<CelUInt>() {
        return Some(Number::Whole(i128::from(*number.inner())));
    }
    let Digits(digits) = value.downcast_ref::<Digits>()?;
    Some(Number::Digits(Cow::Borrowed(digits)))
}
