//! JSON Schema: checked when it is declared, compiled once, held against payloads. The only place that names the
//! library.
//!
//! # What it guarantees
//!
//! Nothing is fetched, ever: references lead to places in the schema itself. Patterns are matched in linear time;
//! look-around and back-references, which cannot be, are refused. What a validation costs is bounded three times: by
//! the schema's [shape], by the [steps](metered) that it may take, and by the frames that it may need on the stack.
//!
//! # What it does not
//!
//! `format` is a note, as draft 2020-12 has it, whatever the draft: it is not checked.

pub mod keywords;
mod metered;
mod shape;

use std::{panic, thread};

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use self::metered::{Meter, Metered, Reading};
use crate::domain::{limits, unique::Unique};

/// A schema, ready to be held against payloads.
pub struct Schema {
    validator: Validator<Metered>,
    /// Schemas one behind the other at one value.
    chain: usize,
}

/// Why a text is no schema that is taken; `pointer` is the place in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {rule}")]
pub struct InvalidSchema {
    pub pointer: String,
    pub rule: String,
}

/// A place in the data that does not meet the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer, from the top of the data.
    pub pointer: String,
    pub rule: String,
}

/// Why data is not known to meet a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It cannot be read; says why.
    Unreadable(String),
    /// Nested too deeply for this schema.
    TooDeep,
    /// The schema asks for more work than data of this size is given.
    TooCostly,
    /// At most [`limits::VIOLATIONS`] of them.
    Violations(Vec<Violation>),
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// Checks and compiles a schema: call it within [`on_a_deep_stack`].
    ///
    /// # Errors
    /// Names the place in the schema and the rule.
    pub fn compile(text: &str) -> Result<Self, InvalidSchema> {
        let at_the_top = |rule: String| InvalidSchema {
            pointer: String::new(),
            rule,
        };
        if text.len() > limits::SCHEMA_BYTES {
            let most = limits::SCHEMA_BYTES;
            return Err(at_the_top(format!(
                "has more than {most} bytes; leave out what the event does not need"
            )));
        }
        let Unique(schema) = serde_json::from_str(text).map_err(|error| at_the_top(error.to_string()))?;
        let work = shape::measure(&schema)?;
        // A library that comes to grief over a schema must not take a start of the server with it.
        let built = panic::catch_unwind(|| build(&schema));
        let validator = built
            .unwrap_or_else(|_| Err(ValidationError::custom("cannot be compiled")))
            .map_err(|error| InvalidSchema {
                pointer: error.instance_path().to_string(),
                rule: schema_rule(&error),
            })?;
        Ok(Self {
            validator,
            chain: work.chain,
        })
    }

    /// Holds a payload against the schema.
    ///
    /// # Errors
    /// Why it is not known to meet it.
    pub fn check(&self, payload: &[u8]) -> Result<(), Mismatch> {
        let Unique(value) =
            serde_json::from_slice(payload).map_err(|error| Mismatch::Unreadable(error.to_string()))?;
        if depth(&value) * self.chain > limits::SCHEMA_FRAMES {
            return Err(Mismatch::TooDeep);
        }
        let steps = limits::VALIDATION_STEPS + limits::VALIDATION_STEPS_PER_BYTE * payload.len() as u64;
        let meter = Meter::new(steps);
        let valid = self.validator.is_valid(Reading::new(&value, &meter));
        match (meter.is_spent(), valid) {
            (true, _) => Err(Mismatch::TooCostly),
            (false, true) => Ok(()),
            (false, false) => Err(Mismatch::Violations(self.violations(&value, steps))),
        }
    }

    /// Whether a payload is known to meet the schema after so many steps. If not, [`check`](Self::check) says more.
    pub fn is_met_within(&self, payload: &[u8], steps: u64) -> bool {
        let Ok(Unique(value)) = serde_json::from_slice(payload) else {
            return false;
        };
        if depth(&value) * self.chain > limits::SCHEMA_FRAMES {
            return false;
        }
        let meter = Meter::new(steps);
        self.validator.is_valid(Reading::new(&value, &meter)) && !meter.is_spent()
    }

    /// What is wrong with data that does not meet the schema: all of it where that is cheap, else the first thing.
    fn violations(&self, value: &Value, steps: u64) -> Vec<Violation> {
        let meter = Meter::new(limits::VIOLATION_STEPS);
        let errors = self.validator.iter_errors(Reading::new(value, &meter));
        let found: Vec<Violation> = errors
            .take(limits::VIOLATIONS)
            .map(|error| violation(&error))
            .collect();
        if !meter.is_spent() && !found.is_empty() {
            return found;
        }
        let meter = Meter::new(steps);
        let first = self.validator.validate(Reading::new(value, &meter)).err();
        let first = first.filter(|_| !meter.is_spent()).map(|error| violation(&error));
        vec![first.unwrap_or_else(|| Violation {
            pointer: String::new(),
            rule: "does not meet the schema of its type".to_owned(),
        })]
    }
}

fn build(schema: &Value) -> Result<Validator<Metered>, ValidationError<'static>> {
    let patterns = PatternOptions::regex()
        .size_limit(limits::SCHEMA_PATTERN_BYTES)
        .dfa_size_limit(limits::SCHEMA_PATTERN_BYTES);
    jsonschema::options_for::<Metered>()
        .offline()
        .with_pattern_options(patterns)
        .should_validate_formats(false)
        .build(schema)
}

/// Runs `work` on a thread with room for deep recursion, and waits for it.
///
/// # Errors
/// When no thread can be started.
pub fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("schemas".to_owned())
            .stack_size(limits::SCHEMA_COMPILE_STACK)
            .spawn_scoped(scope, work)?;
        Ok(worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

fn violation(error: &ValidationError<'_>) -> Violation {
    Violation {
        pointer: error.instance_path().to_string(),
        // The data itself is not repeated: it may be long, or secret.
        rule: lower(error.masked_with("the value").to_string()),
    }
}

fn schema_rule(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Format { format } if format == "regex" => {
            "is not a pattern that is taken: it does not parse, is too large, or has look-around or back-references, \
             which can take for ever"
                .to_owned()
        }
        _ => lower(error.masked_with("the value").to_string()),
    }
}

fn lower(text: String) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if first.is_ascii_uppercase() => {
            first.to_ascii_lowercase().to_string() + letters.as_str()
        }
        _ => text,
    }
}

/// How many arrays and objects stand one inside the other; at least one.
fn depth(value: &Value) -> usize {
    let mut deepest = 1;
    let mut waiting = vec![(value, 1)];
    while let Some((value, level)) = waiting.pop() {
        deepest = deepest.max(level);
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(members) => waiting.extend(members.values().map(|member| (member, level + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
