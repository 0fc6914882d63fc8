//! The environment in which templates run: filters, tests and functions that pay before they work.

use std::sync::{Arc, LazyLock};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, filters, functions, tests,
    value::{Kwargs, Object, ObjectRepr, Rest, ValueKind},
};

use super::engine;
use crate::domain::{
    budget::{Budget, Spent},
    limits,
};

/// The variable that holds the budget. No template can write such a name, nor those of the functions below.
pub(super) const METER: &str = "@meter";
/// `@pay(value)` pays for the value by its size, and is the value, made at once if it was to be made on demand.
pub(super) const PAY: &str = "@pay";
/// `@number(value)` is the value, which must be a number.
pub(super) const NUMBER: &str = "@number";

pub(super) const NO_NUMBER: &str = "only numbers can be multiplied";
pub(super) const TOO_DEEP: &str = "a value that is nested too deep";

/// The budget as a value of the language.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Budget>);

impl Meter {
    pub fn new(budget: Budget) -> Self {
        Self(Arc::new(budget))
    }

    pub fn is_spent(&self) -> bool {
        self.0.is_spent()
    }
}

impl Object for Meter {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

pub(super) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut environment = engine();
        environment.set_formatter(write);
        environment.add_function(PAY, |state: &State, value: Value| pay(state, value));
        environment.add_function(NUMBER, |value: Value| match value.is_number() {
            true => Ok(value),
            false => Err(Error::new(ErrorKind::InvalidOperation, NO_NUMBER)),
        });
        for (name, function) in functions_offered() {
            environment.add_global(name, Value::from_object(Metered(function)));
        }
        for (name, filter) in filters_offered() {
            let metered = Metered(filter);
            environment.add_filter(
                name,
                move |state: &mut State, args: Rest<Value>, named: Kwargs| {
                    metered.run(state, &all(args, named))
                },
            );
        }
        for (name, test) in tests_offered() {
            let metered = Metered(test);
            environment.add_test(
                name,
                move |state: &mut State, args: Rest<Value>, named: Kwargs| {
                    metered.run(state, &all(args, named))
                },
            );
        }
        environment
    });
    &ENVIRONMENT
}

/// Arguments as they were given: those with names come last, as one.
fn all(Rest(mut args): Rest<Value>, named: Kwargs) -> Vec<Value> {
    if named.args().next().is_some() {
        args.push(Value::from(named));
    }
    args
}

/// A function, filter or test whose arguments and result are paid for.
#[derive(Debug)]
struct Metered(Value);

impl Metered {
    fn run(&self, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        for value in args {
            charge(state, value)?;
        }
        let result = self.0.call(state, args)?;
        pay(state, result)
    }
}

impl Object for Metered {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        self.run(state, args)
    }
}

/// Pays for a value. A list that is made on demand is made now: on demand it would be made as often as it is looked at.
fn pay(state: &State, value: Value) -> Result<Value, Error> {
    charge(state, &value)?;
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    let items = value
        .try_iter()?
        .checked()
        .collect::<Result<Vec<Value>, Error>>()?;
    Ok(Value::from(items))
}

fn charge(state: &State, value: &Value) -> Result<(), Error> {
    let meter = state.lookup(METER);
    let meter = meter
        .as_ref()
        .and_then(|meter| meter.downcast_object_ref::<Meter>());
    let Meter(budget) = meter.ok_or_else(spent)?;
    weigh(value, budget, 0)
}

fn spent() -> Error {
    Error::from(ErrorKind::OutOfFuel)
}

/// Pays for a value and all it holds. Ends as soon as the budget does, or where it is too deep to be handled at all.
fn weigh(value: &Value, budget: &Budget, depth: usize) -> Result<(), Error> {
    if depth > limits::TRANSFORM_VALUE_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, TOO_DEEP));
    }
    let paid = |paid: Result<(), Spent>| paid.map_err(|_| spent());
    match value.kind() {
        ValueKind::String => {
            let bytes = value.as_str().map_or(0, str::len);
            paid(budget.charge_text(bytes))
        }
        ValueKind::Bytes => paid(budget.charge_text(value.len().unwrap_or_default())),
        ValueKind::Seq | ValueKind::Iterable => {
            paid(budget.charge(1))?;
            for item in value.try_iter()?.checked() {
                weigh(&item?, budget, depth + 1)?;
            }
            Ok(())
        }
        ValueKind::Map => {
            paid(budget.charge(1))?;
            for name in value.try_iter()?.checked() {
                let name = name?;
                weigh(&name, budget, depth + 1)?;
                weigh(&value.get_item(&name)?, budget, depth + 1)?;
            }
            Ok(())
        }
        _ => paid(budget.charge(1)),
    }
}

/// Writes a value, to the output or to a variable: texts and numbers as they are, the rest as JSON.
fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    charge(state, value)?;
    let written = match value.kind() {
        ValueKind::None => out.write_str("null"),
        ValueKind::Bool | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            out.write_str(&json(value)?)
        }
        ValueKind::String => out.write_str(value.as_str().unwrap_or_default()),
        _ => out.write_fmt(format_args!("{value}")),
    };
    written.map_err(Error::from)
}

fn json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "not a value of JSON").with_source(error))
}

/// `tojson`: the engine's own escapes for HTML.
fn to_json(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    json(value).map(Value::from)
}

/// `replace`: each replacement is paid for by what it makes, which may be far more than what it takes.
fn replace(state: &State, text: String, from: String, to: String) -> Result<String, Error> {
    let times = match from.len() {
        0 => text.len() + 1,
        _ => text.matches(&from).count(),
    };
    charge_bytes(state, times.saturating_mul(to.len()))?;
    Ok(text.replace(&from, &to))
}

/// `join`: the texts of a list, with another between them.
fn join(state: &State, items: Value, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut text = String::new();
    for (item, place) in items.try_iter()?.checked().zip(0..) {
        let item = item?;
        if item.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        if place > 0 {
            charge_bytes(state, between.len())?;
            text.push_str(&between);
        }
        match item.as_str() {
            Some(part) => text.push_str(part),
            None => text.push_str(&item.to_string()),
        }
    }
    Ok(text)
}

fn charge_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    let meter = state.lookup(METER);
    let meter = meter
        .as_ref()
        .and_then(|meter| meter.downcast_object_ref::<Meter>());
    let Meter(budget) = meter.ok_or_else(spent)?;
    budget.charge_text(bytes).map_err(|_| spent())
}

pub(super) fn functions_offered() -> [(&'static str, Value); 2] {
    [
        ("range", Value::from_function(functions::range)),
        ("dict", Value::from_function(functions::dict)),
    ]
}

/// Filters whose result is no larger than what they take, or that pay for what it is.
pub(super) fn filters_offered() -> Vec<(&'static str, Value)> {
    vec![
        ("abs", Value::from_function(filters::abs)),
        ("bool", Value::from_function(filters::bool)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("count", Value::from_function(filters::length)),
        ("d", Value::from_function(filters::default)),
        ("default", Value::from_function(filters::default)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("first", Value::from_function(filters::first)),
        ("float", Value::from_function(filters::float)),
        ("int", Value::from_function(filters::int)),
        ("items", Value::from_function(filters::items)),
        ("join", Value::from_function(join)),
        ("last", Value::from_function(filters::last)),
        ("length", Value::from_function(filters::length)),
        ("list", Value::from_function(filters::list)),
        ("lower", Value::from_function(filters::lower)),
        ("map", Value::from_function(filters::map)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("replace", Value::from_function(replace)),
        ("reverse", Value::from_function(filters::reverse)),
        ("round", Value::from_function(filters::round)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("sort", Value::from_function(filters::sort)),
        ("split", Value::from_function(filters::split)),
        ("string", Value::from_function(filters::string)),
        ("sum", Value::from_function(filters::sum)),
        ("title", Value::from_function(filters::title)),
        ("tojson", Value::from_function(to_json)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
    ]
}

pub(super) fn tests_offered() -> Vec<(&'static str, Value)> {
    vec![
        ("boolean", Value::from_function(tests::is_boolean)),
        ("defined", Value::from_function(tests::is_defined)),
        ("divisibleby", Value::from_function(tests::is_divisibleby)),
        ("endingwith", Value::from_function(tests::is_endingwith)),
        ("eq", Value::from_function(tests::is_eq)),
        ("even", Value::from_function(tests::is_even)),
        ("false", Value::from_function(tests::is_false)),
        ("float", Value::from_function(tests::is_float)),
        ("ge", Value::from_function(tests::is_ge)),
        ("gt", Value::from_function(tests::is_gt)),
        ("in", Value::from_function(tests::is_in)),
        ("integer", Value::from_function(tests::is_integer)),
        ("iterable", Value::from_function(tests::is_iterable)),
        ("le", Value::from_function(tests::is_le)),
        ("lt", Value::from_function(tests::is_lt)),
        ("mapping", Value::from_function(tests::is_mapping)),
        ("ne", Value::from_function(tests::is_ne)),
        ("none", Value::from_function(tests::is_none)),
        ("number", Value::from_function(tests::is_number)),
        ("odd", Value::from_function(tests::is_odd)),
        ("sequence", Value::from_function(tests::is_sequence)),
        ("startingwith", Value::from_function(tests::is_startingwith)),
        ("string", Value::from_function(tests::is_string)),
        ("true", Value::from_function(tests::is_true)),
        ("undefined", Value::from_function(tests::is_undefined)),
    ]
}
