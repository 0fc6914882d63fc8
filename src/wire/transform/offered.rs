//! The functions, filters and tests that there are, and how each reads what it is given.

use minijinja::{Error, ErrorKind, Value, filters, functions, tests, value::ValueKind};

use super::{
    compare,
    meter::{Reads, join, replace, to_json},
    values::{digits_of, half_text_of},
};
use crate::domain::json::decimal;

type Offered = (&'static str, Reads, Value);

pub(super) fn functions_offered() -> [Offered; 2] {
    [
        ("range", Reads::Numbers, Value::from_function(functions::range)),
        ("dict", Reads::Nothing, Value::from_function(functions::dict)),
    ]
}

/// Filters whose result is no larger than what they take, or that pay for what it is.
pub(super) fn filters_offered() -> Vec<Offered> {
    use Reads::{Nothing, Numbers, Order, Texts};
    vec![
        ("abs", Numbers, Value::from_function(filters::abs)),
        ("bool", Nothing, Value::from_function(filters::bool)),
        ("capitalize", Texts, Value::from_function(filters::capitalize)),
        ("count", Nothing, Value::from_function(filters::length)),
        ("d", Nothing, Value::from_function(filters::default)),
        ("default", Nothing, Value::from_function(filters::default)),
        ("dictsort", Order, Value::from_function(filters::dictsort)),
        ("first", Nothing, Value::from_function(filters::first)),
        ("float", Numbers, Value::from_function(filters::float)),
        ("int", Numbers, Value::from_function(filters::int)),
        ("items", Nothing, Value::from_function(filters::items)),
        ("join", Texts, Value::from_function(join)),
        ("last", Nothing, Value::from_function(filters::last)),
        ("length", Nothing, Value::from_function(filters::length)),
        ("list", Nothing, Value::from_function(filters::list)),
        ("lower", Texts, Value::from_function(filters::lower)),
        ("map", Nothing, Value::from_function(filters::map)),
        ("max", Order, Value::from_function(filters::max)),
        ("min", Order, Value::from_function(filters::min)),
        ("reject", Nothing, Value::from_function(filters::reject)),
        ("rejectattr", Nothing, Value::from_function(filters::rejectattr)),
        ("replace", Texts, Value::from_function(replace)),
        ("reverse", Nothing, Value::from_function(filters::reverse)),
        ("round", Numbers, Value::from_function(filters::round)),
        ("select", Nothing, Value::from_function(filters::select)),
        ("selectattr", Nothing, Value::from_function(filters::selectattr)),
        ("sort", Order, Value::from_function(filters::sort)),
        ("split", Texts, Value::from_function(filters::split)),
        ("string", Texts, Value::from_function(filters::string)),
        ("sum", Numbers, Value::from_function(filters::sum)),
        ("title", Texts, Value::from_function(filters::title)),
        ("tojson", Nothing, Value::from_function(to_json)),
        ("trim", Texts, Value::from_function(filters::trim)),
        ("unique", Order, Value::from_function(filters::unique)),
        ("upper", Texts, Value::from_function(filters::upper)),
    ]
}

pub(super) fn tests_offered() -> Vec<Offered> {
    use Reads::{Nothing, Numbers, Texts};
    vec![
        ("boolean", Nothing, Value::from_function(tests::is_boolean)),
        ("defined", Nothing, Value::from_function(tests::is_defined)),
        (
            "divisibleby",
            Numbers,
            Value::from_function(tests::is_divisibleby),
        ),
        ("endingwith", Texts, Value::from_function(tests::is_endingwith)),
        ("eq", Texts, comparison("==")),
        ("even", Numbers, Value::from_function(tests::is_even)),
        ("false", Nothing, Value::from_function(tests::is_false)),
        ("float", Nothing, Value::from_function(is_float)),
        ("ge", Texts, comparison(">=")),
        ("gt", Texts, comparison(">")),
        ("in", Texts, Value::from_function(is_in)),
        ("integer", Nothing, Value::from_function(is_integer)),
        ("iterable", Nothing, Value::from_function(tests::is_iterable)),
        ("le", Texts, comparison("<=")),
        ("lt", Texts, comparison("<")),
        ("mapping", Nothing, Value::from_function(tests::is_mapping)),
        ("ne", Texts, comparison("!=")),
        ("none", Nothing, Value::from_function(tests::is_none)),
        ("number", Nothing, Value::from_function(is_number)),
        ("odd", Numbers, Value::from_function(tests::is_odd)),
        ("sequence", Nothing, Value::from_function(tests::is_sequence)),
        (
            "startingwith",
            Texts,
            Value::from_function(tests::is_startingwith),
        ),
        ("string", Nothing, Value::from_function(is_string)),
        ("true", Nothing, Value::from_function(tests::is_true)),
        ("undefined", Nothing, Value::from_function(tests::is_undefined)),
    ]
}

fn comparison(operator: &'static str) -> Value {
    Value::from_function(move |left: Value, right: Value| compare::compared(&left, operator, &right))
}

/// `in`, where what can hold nothing holds nothing.
fn is_in(value: &Value, container: &Value) -> Result<bool, Error> {
    if container.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(compare::contains(container, value).unwrap_or(false))
}

fn is_number(value: &Value) -> bool {
    digits_of(value).is_some() || tests::is_number(value)
}

fn is_integer(value: &Value) -> bool {
    digits_of(value).map_or_else(|| tests::is_integer(value), |digits| decimal::is_whole(&digits.0))
}

fn is_float(value: &Value) -> bool {
    digits_of(value).map_or_else(|| tests::is_float(value), |digits| !decimal::is_whole(&digits.0))
}

fn is_string(value: &Value) -> bool {
    value.kind() == ValueKind::String || half_text_of(value).is_some()
}
