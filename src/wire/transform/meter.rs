//! The environment in which templates run: filters, tests and functions that pay before they work.

use std::sync::{Arc, LazyLock};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value,
    value::{Kwargs, Object, ObjectRepr, Rest, ValueKind},
};

use super::{
    compare, engine,
    offered::{filters_offered, functions_offered, tests_offered},
    values::{self, HalfText, digits_of, half_text_of, json},
};
use crate::domain::{
    budget::{Budget, Spent},
    limits,
};

/// The variable that holds the budget. No template can write such a name, nor those of the functions below.
pub(super) const METER: &str = "@meter";
/// `@pay(value)` pays for the value by its size, and is the value, made at once if it was to be made on demand.
pub(super) const PAY: &str = "@pay";
/// `@text(value)` is the same for a value whose texts are looked at: they must be Unicode.
pub(super) const TEXT: &str = "@text";
/// `@operand(value)` is the same for a value that is calculated with: digits become a number of the engine.
pub(super) const OPERAND: &str = "@operand";
/// `@number(value)` is the same, and must be a number.
pub(super) const NUMBER: &str = "@number";
/// `@compare(a, "<", b, …)` stands in for a comparison.
pub(super) const COMPARE: &str = "@compare";

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
        environment.add_function(TEXT, |state: &State, value: Value| {
            check(state, &value, Reads::Texts)?;
            made(value)
        });
        environment.add_function(OPERAND, |state: &State, value: Value| operand(state, value));
        environment.add_function(NUMBER, |state: &State, value: Value| {
            let value = operand(state, value)?;
            match value.is_number() {
                true => Ok(value),
                false => Err(Error::new(ErrorKind::InvalidOperation, NO_NUMBER)),
            }
        });
        environment.add_function(COMPARE, compare::chain);
        for (name, reads, function) in functions_offered() {
            environment.add_global(name, Value::from_object(Metered(reads, function)));
        }
        for (name, reads, filter) in filters_offered() {
            let metered = Metered(reads, filter);
            environment.add_filter(
                name,
                move |state: &mut State, args: Rest<Value>, named: Kwargs| {
                    metered.run(state, &all(args, named))
                },
            );
        }
        for (name, reads, test) in tests_offered() {
            let metered = Metered(reads, test);
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

/// What a function, filter or test does with its arguments.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// It passes them on, or looks at what kind they are.
    Nothing,
    /// It looks at texts, which must be Unicode; digits are text to it.
    Texts,
    /// It calculates as well: digits become numbers of the engine.
    Numbers,
    /// It puts values in order: where there are digits, all numbers become digits, which compare exactly.
    Order,
}

/// A function, filter or test whose arguments and result are paid for.
#[derive(Debug)]
struct Metered(Reads, Value);

impl Metered {
    fn run(&self, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        let Self(reads, function) = self;
        let mut has_digits = false;
        for value in args {
            has_digits |= check(state, value, *reads)?;
        }
        let change = match reads {
            Reads::Numbers => values::lowered,
            Reads::Order => values::lifted,
            Reads::Nothing | Reads::Texts => |value: &Value| Ok(value.clone()),
        };
        let result = if has_digits {
            let args = args.iter().map(change).collect::<Result<Vec<Value>, Error>>()?;
            function.call(state, &args)?
        } else {
            function.call(state, args)?
        };
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
    made(value)
}

fn made(value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    let items = value
        .try_iter()?
        .checked()
        .collect::<Result<Vec<Value>, Error>>()?;
    Ok(Value::from(items))
}

/// Pays for a value that is calculated with. Lists are added with all that is in them as it is.
fn operand(state: &State, value: Value) -> Result<Value, Error> {
    charge(state, &value)?;
    if half_text_of(&value).is_some() {
        return Err(HalfText::error());
    }
    match digits_of(&value) {
        Some(digits) => digits.number(),
        None => made(value),
    }
}

fn charge(state: &State, value: &Value) -> Result<(), Error> {
    check(state, value, Reads::Nothing).map(|_| ())
}

/// Pays for a value that is read so; answers whether there are digits in it.
fn check(state: &State, value: &Value, reads: Reads) -> Result<bool, Error> {
    let meter = state.lookup(METER);
    let meter = meter
        .as_ref()
        .and_then(|meter| meter.downcast_object_ref::<Meter>());
    let Meter(budget) = meter.ok_or_else(spent)?;
    let mut scale = Scale {
        budget,
        reads,
        has_digits: false,
    };
    scale.weigh(value, 0)?;
    Ok(scale.has_digits)
}

fn spent() -> Error {
    Error::from(ErrorKind::OutOfFuel)
}

struct Scale<'a> {
    budget: &'a Budget,
    reads: Reads,
    has_digits: bool,
}

impl Scale<'_> {
    /// Pays for a value and all it holds. Ends as soon as the budget does, or where it is too deep to be handled at
    /// all, or cannot be read.
    fn weigh(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > limits::TRANSFORM_VALUE_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, TOO_DEEP));
        }
        let paid = |paid: Result<(), Spent>| paid.map_err(|_| spent());
        match value.kind() {
            ValueKind::String => {
                let bytes = value.as_str().map_or(0, str::len);
                paid(self.budget.charge_text(bytes))
            }
            ValueKind::Bytes => paid(self.budget.charge_text(value.len().unwrap_or_default())),
            ValueKind::Seq | ValueKind::Iterable => {
                paid(self.budget.charge(1))?;
                for item in value.try_iter()?.checked() {
                    self.weigh(&item?, depth + 1)?;
                }
                Ok(())
            }
            ValueKind::Map => {
                paid(self.budget.charge(1))?;
                for name in value.try_iter()?.checked() {
                    let name = name?;
                    self.weigh(&name, depth + 1)?;
                    self.weigh(&value.get_item(&name)?, depth + 1)?;
                }
                Ok(())
            }
            ValueKind::Plain => self.weigh_plain(value),
            _ => paid(self.budget.charge(1)),
        }
    }

    fn weigh_plain(&mut self, value: &Value) -> Result<(), Error> {
        let half = half_text_of(value);
        let bytes = match digits_of(value) {
            Some(digits) => {
                self.has_digits = true;
                digits.0.len()
            }
            None => half.map_or(0, HalfText::len),
        };
        self.budget.charge_text(bytes).map_err(|_| spent())?;
        if half.is_some() && self.reads != Reads::Nothing {
            return Err(HalfText::error());
        }
        Ok(())
    }
}

/// Writes a value, to the output or to a variable: texts and numbers as they are, the rest as JSON.
fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    charge(state, value)?;
    if half_text_of(value).is_some() {
        return Err(HalfText::error());
    }
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

/// `tojson`: the engine's own escapes for HTML.
pub(super) fn to_json(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    json(value).map(Value::from)
}

/// `replace`: each replacement is paid for by what it makes, which may be far more than what it takes.
pub(super) fn replace(state: &State, text: String, from: String, to: String) -> Result<String, Error> {
    let times = match from.len() {
        0 => text.len() + 1,
        _ => text.matches(&from).count(),
    };
    charge_bytes(state, times.saturating_mul(to.len()))?;
    Ok(text.replace(&from, &to))
}

/// `join`: the texts of a list, with another between them.
pub(super) fn join(state: &State, items: Value, between: Option<String>) -> Result<String, Error> {
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
