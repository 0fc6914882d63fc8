//! Transforms: a template in MiniJinja whose output is a request's body, in place of the envelope.
//!
//! # What a template sees
//!
//! The same names as a condition: `id`, `type`, `data`, `tenant`, `channel`, `attributes`, `occurred_at` (RFC 3339 text
//! in UTC). Nothing is escaped by itself: `{{ data.name|tojson }}` writes a value as JSON. Where a list or an object is
//! written without it, it is written as JSON all the same, and nothing as `null`. What is not there is an error, unless
//! `default` or `is defined` asks for it.
//!
//! Numbers and objects of the event are copied as they were written, to the last digit (`values`). Comparisons, `sort`,
//! `min`, `max` and `unique` go by exact values; what calculates uses the engine's numbers, i128 and double. A text
//! with half a surrogate pair, and a calculation with a number beyond a double, are errors where they are read only.
//!
//! # What bounds it
//!
//! The engine counts instructions (fuel) and recursion, but neither memory nor the work inside one instruction: a text
//! joined to itself forty times is forty instructions and a terabyte. So a template is parsed, checked and built anew
//! (`guard`) before it is compiled: whatever an operator takes, a filter takes or gives, or is written, to the output or
//! to a variable, pays for its size from a budget first (`meter`), lists that are made on demand are made at once,
//! and what could get around that is refused: other templates, namespaces, spread arguments.
//!
//! # What it guarantees
//!
//! A template that [`check`] accepts renders within its bounds, or fails, for any event. Output that is not JSON is a
//! failure. The same template and event give the same bytes.

mod compare;
mod guard;
mod meter;
mod offered;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, machinery};
use serde::de::IgnoredAny;

use self::meter::Meter;
use crate::domain::{
    budget::Budget,
    facts::{self, Facts},
    json, limits,
};

/// Why a text is not a transform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransform {
    #[error("is empty; leave it out to send the envelope")]
    Empty,
    #[error("is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// Lines count from 1.
    #[error("line {line}: {what}")]
    At { line: usize, what: String },
    #[error("the template is beyond the compiler")]
    Panicked,
}

/// Why an event became no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    #[error("the template does not compile any more: {0}")]
    Invalid(InvalidTransform),
    #[error("line {line}: {what}")]
    At { line: usize, what: String },
    #[error("it is too costly for this event")]
    Budget,
    #[error("its output is longer than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("its output is not JSON: {what} at line {line}, column {column}")]
    NotJson {
        line: usize,
        column: usize,
        what: &'static str,
    },
    #[error("the event's data cannot be read: it is not JSON")]
    Data,
    #[error("the template engine broke down")]
    Panicked,
}

/// Whether a text is a transform.
///
/// # Errors
/// Says what is wrong and where.
pub fn check(source: &str) -> Result<(), InvalidTransform> {
    let compiled = catch_unwind(|| compile(source).map(|_| ()));
    compiled.unwrap_or(Err(InvalidTransform::Panicked))
}

/// Renders an event. What people write takes microseconds, compiling included. The costliest templates that were tried
/// took 1 to 245 ms and up to 18 MiB, in a release build on two cores that other builds kept busy
/// (docs/adr/0002-libraries.md).
///
/// # Errors
/// Says why there is no body. Never shows a value of the event.
pub fn render(source: &str, event: &Facts<'_>) -> Result<Bytes, TransformError> {
    let rendered = catch_unwind(AssertUnwindSafe(|| rendered(source, event)));
    rendered.unwrap_or(Err(TransformError::Panicked))
}

fn rendered(source: &str, event: &Facts<'_>) -> Result<Bytes, TransformError> {
    let compiled = compile(source).map_err(TransformError::Invalid)?;
    let meter = Meter::new(Budget::new(limits::TRANSFORM_BUDGET));
    let context = context(event, compiled.reads_data, &meter)?;
    let environment = meter::environment();
    let mut output = String::new();
    let ended = machinery::eval(
        environment,
        &compiled.instructions,
        context,
        &compiled.blocks,
        &mut machinery::make_string_output(&mut output),
        AutoEscape::None,
    );
    if meter.is_spent() {
        return Err(TransformError::Budget);
    }
    ended.map_err(|error| failure(&error))?;
    if output.len() > limits::TRANSFORM_OUTPUT_BYTES {
        return Err(TransformError::TooLarge {
            limit: limits::TRANSFORM_OUTPUT_BYTES,
        });
    }
    serde_json::from_str::<IgnoredAny>(&output).map_err(|error| not_json(&error))?;
    Ok(Bytes::from(output))
}

/// A template, ready to run.
struct Compiled<'a> {
    instructions: machinery::Instructions<'a>,
    blocks: BTreeMap<&'a str, machinery::Instructions<'a>>,
    reads_data: bool,
}

/// The name under which the engine knows the one template there is.
const NAME: &str = "transform";

fn compile(source: &str) -> Result<Compiled<'_>, InvalidTransform> {
    if source.trim().is_empty() {
        return Err(InvalidTransform::Empty);
    }
    if source.len() > limits::TRANSFORM_BYTES {
        return Err(InvalidTransform::TooLong {
            limit: limits::TRANSFORM_BYTES,
        });
    }
    let parsed = machinery::parse(source, NAME, Default::default()).map_err(|error| syntax(&error))?;
    let guarded = guard::guard(&parsed)?;
    let mut generator = machinery::CodeGenerator::new(NAME, source);
    generator.compile_stmt(&guarded.template);
    let (instructions, blocks) = generator.finish();
    Ok(Compiled {
        instructions,
        blocks,
        reads_data: guarded.reads_data,
    })
}

/// The names of an event, and the budget.
fn context(event: &Facts<'_>, reads_data: bool, meter: &Meter) -> Result<Value, TransformError> {
    let data = match event.data {
        Some(text) if reads_data => json::read(text, &values::Values).ok_or(TransformError::Data)?,
        _ => Value::from(()),
    };
    let optional = |label: Option<&str>| label.map_or_else(|| Value::from(()), Value::from);
    let attributes: BTreeMap<&str, Value> = event
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), Value::from(value.as_str())))
        .collect();
    let values: [Value; 7] = [
        Value::from(event.id),
        Value::from(event.event_type),
        data,
        optional(event.tenant),
        optional(event.channel),
        Value::from(attributes),
        Value::from(event.occurred_at.to_string()),
    ];
    let members = facts::NAMES.into_iter().zip(values);
    let own = (meter::METER, Value::from_object(meter.clone()));
    Ok(Value::from(
        members.chain([own]).collect::<BTreeMap<&str, Value>>(),
    ))
}

fn syntax(error: &Error) -> InvalidTransform {
    let detail = error.detail().unwrap_or("syntax error");
    let what = match error.kind() {
        ErrorKind::SyntaxError => detail.to_owned(),
        kind => format!("{kind}: {detail}"),
    };
    InvalidTransform::At {
        line: error.line().unwrap_or(1).max(1),
        what,
    }
}

/// An error of the engine in our words: its details may show values, which are the event's.
fn failure(error: &Error) -> TransformError {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => return TransformError::Budget,
        ErrorKind::UndefinedError => "a value that is not there",
        ErrorKind::UnknownFilter => "a filter that is not there",
        ErrorKind::UnknownTest => "a test that is not there",
        ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => "a function that is not there",
        ErrorKind::TooManyArguments => "too many arguments",
        ErrorKind::MissingArgument => "an argument is missing",
        ErrorKind::CannotUnpack => "a value that cannot be taken apart so",
        ErrorKind::InvalidOperation if own_words(error).is_some() => own_words(error).unwrap_or_default(),
        ErrorKind::InvalidOperation => "a value of the wrong kind, or recursion that is too deep",
        _ => "a value of the wrong kind",
    };
    TransformError::At {
        line: error.line().unwrap_or(1).max(1),
        what: what.to_owned(),
    }
}

/// What one of our own functions says, which shows nothing of the event.
fn own_words(error: &Error) -> Option<&'static str> {
    let words = [
        meter::NO_NUMBER,
        meter::TOO_DEEP,
        values::HALF_TEXT,
        values::OUT_OF_RANGE,
    ];
    words.into_iter().find(|words| error.detail() == Some(words))
}

fn not_json(error: &serde_json::Error) -> TransformError {
    TransformError::NotJson {
        line: error.line(),
        column: error.column(),
        what: if error.is_eof() {
            "it ends too early"
        } else {
            "an unexpected character"
        },
    }
}

/// The engine as it runs every transform.
fn engine<'a>() -> Environment<'a> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_fuel(Some(limits::TRANSFORM_FUEL));
    environment.set_recursion_limit(limits::TRANSFORM_RECURSION);
    environment
}
