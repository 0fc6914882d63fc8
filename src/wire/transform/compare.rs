//! Comparisons by exact value. They stand in for the engine's own, which know nothing of [`Digits`] and take a whole
//! number at the end of its range for the double beside it.

use std::{borrow::Cow, cmp::Ordering};

use minijinja::{
    Error, ErrorKind, Value,
    machinery::ast::CompareOpKind,
    value::{Rest, ValueKind},
};

use super::values::{Digits, digits_of};
use crate::domain::json::number::Number;

/// The words by which the guard hands operators to [`chain`].
const OPERATORS: [&str; 8] = ["==", "!=", "<", "<=", ">", ">=", "in", "not in"];

pub(super) const fn word(operator: CompareOpKind) -> &'static str {
    OPERATORS[match operator {
        CompareOpKind::Eq => 0,
        CompareOpKind::Ne => 1,
        CompareOpKind::Lt => 2,
        CompareOpKind::Lte => 3,
        CompareOpKind::Gt => 4,
        CompareOpKind::Gte => 5,
        CompareOpKind::In => 6,
        CompareOpKind::NotIn => 7,
    }]
}

/// `a < b <= c`, as a list of operands with the operators between them.
pub(super) fn chain(Rest(terms): Rest<Value>) -> Result<bool, Error> {
    let mut terms = terms.iter();
    let mut left = terms.next();
    while let (Some(first), Some(operator), Some(second)) = (left, terms.next(), terms.next()) {
        if !holds(first, operator.as_str().unwrap_or_default(), second)? {
            return Ok(false);
        }
        left = Some(second);
    }
    Ok(true)
}

/// # Errors
/// When one of them is not there, or nothing can be in the second.
fn holds(left: &Value, operator: &str, right: &Value) -> Result<bool, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    compared(left, operator, right)
}

/// The same where nothing counts as a value.
pub(super) fn compared(left: &Value, operator: &str, right: &Value) -> Result<bool, Error> {
    Ok(match operator {
        "==" => equal(left, right)?,
        "!=" => !equal(left, right)?,
        "<" => order(left, right)?.is_lt(),
        "<=" => order(left, right)?.is_le(),
        ">" => order(left, right)?.is_gt(),
        ">=" => order(left, right)?.is_ge(),
        "in" => contains(right, left)?,
        _ => !contains(right, left)?,
    })
}

fn equal(left: &Value, right: &Value) -> Result<bool, Error> {
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return Ok(left.compare(&right) == Some(Ordering::Equal));
    }
    if left.is_tuple() != right.is_tuple() {
        return Ok(false);
    }
    if is_list(left) && is_list(right) {
        let (mut left, mut right) = (left.try_iter()?, right.try_iter()?);
        return loop {
            match (left.next(), right.next()) {
                (None, None) => break Ok(true),
                (Some(left), Some(right)) if equal(&left, &right)? => {}
                _ => break Ok(false),
            }
        };
    }
    if left.kind() == ValueKind::Map && right.kind() == ValueKind::Map {
        let mut members = 0;
        for name in left.try_iter()? {
            members += 1;
            let other = right.as_object().and_then(|right| right.get_value(&name));
            match other {
                Some(other) if equal(&left.get_item(&name)?, &other)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(members == right.try_iter()?.count());
    }
    Ok(left == right)
}

fn order(left: &Value, right: &Value) -> Result<Ordering, Error> {
    if let (Some(first), Some(second)) = (number(left), number(right)) {
        // A NaN is where the engine has it.
        return Ok(first.compare(&second).unwrap_or_else(|| left.cmp(right)));
    }
    if is_list(left) && is_list(right) && left.is_tuple() == right.is_tuple() {
        let (mut left, mut right) = (left.try_iter()?, right.try_iter()?);
        loop {
            let order = match (left.next(), right.next()) {
                (None, None) => return Ok(Ordering::Equal),
                (Some(left), Some(right)) => order(&left, &right)?,
                (left, right) => return Ok(left.is_some().cmp(&right.is_some())),
            };
            if order != Ordering::Equal {
                return Ok(order);
            }
        }
    }
    // Kinds have an order, and digits are a number among them.
    let zero = Value::from(0);
    let of = |value| if digits_of(value).is_some() { &zero } else { value };
    Ok(of(left).cmp(of(right)))
}

pub(super) fn contains(container: &Value, value: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        return Ok(match value.as_str() {
            Some(part) => text.contains(part),
            None => text.contains(&value.to_string()),
        });
    }
    match container.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in container.try_iter()?.checked() {
                if equal(&item?, value)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ValueKind::Map => Ok(container
            .as_object()
            .is_some_and(|container| container.get_value(value).is_some())),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            "nothing can be in this value",
        )),
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn number(value: &Value) -> Option<Number<'_>> {
    if let Some(Digits(digits)) = digits_of(value) {
        return Some(Number::Digits(Cow::Borrowed(digits)));
    }
    if !value.is_number() {
        return None;
    }
    if !value.is_integer() {
        return f64::try_from(value.clone()).ok().map(Number::Double);
    }
    let whole = i128::try_from(value.clone()).map(Number::Whole);
    Some(whole.unwrap_or_else(|_| Number::Digits(Cow::Owned(value.to_string()))))
}
