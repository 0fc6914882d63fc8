//! Conditions as the registry keeps them.
//!
//! They are compiled when they are first asked, not when they are read: ten thousand of them must not keep a start
//! waiting. What was checked when it was saved compiles then as well, unless the compiler has changed since.

use std::sync::OnceLock;

use crate::{
    domain::{
        condition::{Condition, Failure, InvalidCondition, Subject, Verdict},
        id::EndpointId,
    },
    telemetry::metrics,
};

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
        let compile = || {
            Condition::compile(&self.source).inspect_err(|error| {
                tracing::warn!(endpoint.id = %id, %error, "a stored condition does not compile any more; it matches nothing");
            })
        };
        match self.compiled.get_or_init(compile) {
            Ok(condition) => condition.judge(subject),
            Err(error) => Verdict::Failed(Failure::Invalid(error.clone())),
        }
    }

    /// Whether it wants an event. A failure is counted, and is a no.
    pub fn wants(&self, id: EndpointId, subject: &Subject<'_>) -> bool {
        match self.judge(id, subject) {
            Verdict::Matched => true,
            Verdict::NotMatched => false,
            Verdict::Failed(failure) => {
                metrics::condition_failed(failure.as_str());
                tracing::debug!(endpoint.id = %id, why = %failure, "a condition failed; it counts as no match");
                false
            }
        }
    }
}
