//! Conditions as the registry keeps them.
//!
//! They are compiled when they are first asked, not when they are read: ten thousand of them must not keep a start
//! waiting. What was checked when it was saved compiles then as well, unless the compiler has changed since.

use std::sync::OnceLock;

use crate::{
    domain::{
        condition::{Condition, Failure, InvalidCondition, Subject, Verdict},
        id::EndpointId,
        limits,
    },
    telemetry::metrics,
};

/// Units that an evaluation takes beside those that it counts itself: it sets up the interpreter.
const EVALUATING: u64 = 20;
/// Units that compiling takes for each byte of a condition.
const COMPILING: u64 = 4;

/// An endpoint's condition.
pub(super) struct Kept {
    source: String,
    compiled: OnceLock<Result<Condition, InvalidCondition>>,
}

impl Kept {
    pub const fn new(source: String) -> Self {
        Self {
            source,
            compiled: OnceLock::new(),
        }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it says of an event.
    pub fn judge(&self, id: EndpointId, subject: &Subject<'_>) -> Verdict {
        match self.compiled(id) {
            Ok(condition) => condition.judge(subject),
            Err(error) => Verdict::Failed(Failure::Invalid(error.clone())),
        }
    }

    /// Whether it wants an event, asked with at most so many units, and how many it took; `None` when they do not suffice. A
    /// failure is counted, and is a no.
    pub fn wants(&self, id: EndpointId, subject: &Subject<'_>, most: u64) -> (Option<bool>, u64) {
        let compiling = match self.compiled.get() {
            None => self.source.len() as u64 * COMPILING,
            Some(_) => 0,
        };
        let least = EVALUATING + compiling;
        let Some(left) = most.checked_sub(least).filter(|left| *left > 0) else {
            return (None, 0);
        };
        let allowed = left.min(limits::CONDITION_BUDGET);
        let (verdict, spent) = match self.compiled(id) {
            Ok(condition) => condition.judge_within(subject, allowed),
            Err(error) => (Verdict::Failed(Failure::Invalid(error.clone())), 0),
        };
        let wants = match verdict {
            Verdict::Matched => Some(true),
            Verdict::NotMatched => Some(false),
            Verdict::Failed(Failure::Budget) if allowed < limits::CONDITION_BUDGET => None,
            Verdict::Failed(failure) => {
                metrics::condition_failed(failure.as_str());
                tracing::debug!(endpoint.id = %id, why = %failure, "a condition failed; it counts as no match");
                Some(false)
            }
        };
        (wants, least + spent)
    }

    fn compiled(&self, id: EndpointId) -> &Result<Condition, InvalidCondition> {
        let compile = || {
            Condition::compile(&self.source).inspect_err(|error| {
                tracing::warn!(endpoint.id = %id, %error, "a stored condition does not compile any more; it matches nothing");
            })
        };
        self.compiled.get_or_init(compile)
    }
}
