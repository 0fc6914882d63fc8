//! Conditions: what an endpoint wants of an event beyond its type, as an expression in CEL.
//!
//! # The cast
//!
//! A [`Condition`] is an expression that was compiled, checked and rewritten when its endpoint was saved. A [`Subject`]
//! is an event, made ready for any number of conditions: its JSON is parsed once, and only if one of them looks at
//! `data`. [`Condition::judge`] answers with a [`Verdict`].
//!
//! # What an expression sees
//!
//! `id`, `type`, `data`, `tenant`, `channel`, `attributes` and `occurred_at`. The time is RFC 3339 text in UTC with
//! milliseconds, so texts compare as times do. `tenant` and `channel` are null when the event has none, `data` is null
//! when it is not JSON. Whole numbers of JSON are `int` (`uint` past its range), others `double`. The library is CEL's
//! standard one, without optionals, timestamps and durations; the pattern of `matches` is a literal.
//!
//! Numbers compare by their exact decimal value, however many digits they have (`compare`); a number that no int, uint
//! or double holds becomes the nearest double only where it is calculated with. A text with half a surrogate pair, and
//! arithmetic on a number beyond a double, fail the expression that reads them and no other (`values`).
//!
//! # What bounds it
//!
//! The interpreter has no limits of its own, so the expression carries them: `guard` refuses what is too long, too deep
//! or unknown, and writes payments into what is left. Before each turn of a comprehension the expression pays for the
//! nodes of its body; a value pays by its size before it is copied, compared, joined or searched; a regular expression
//! is compiled when the condition is saved, to a bounded size, and pays by the length of the text times its own. When
//! [`limits::CONDITION_BUDGET`] is spent, the evaluation ends as [`Failure::Budget`]. A panic inside the library is
//! caught and is a failure like any other.

mod compare;
mod env;
mod guard;
mod regexes;
mod subject;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use cel::{
    Context, ExecutionError, Value as Cel,
    common::{ast::IdedExpr as Expression, types::CelBool},
};

pub use self::subject::Subject;
use self::{
    env::{METER, Meter},
    regexes::Regexes,
};
use super::{budget::Budget, facts::Facts, limits, time::Timestamp};

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    source: String,
    expression: Expression,
    regexes: Regexes,
    /// Nodes of the expression: what one walk over it costs.
    nodes: u64,
    reads_data: bool,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    #[error("is empty; leave it out to want every event of the subscription")]
    Empty,
    #[error("is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// Lines and columns count from 1, columns in characters.
    #[error("line {line}, column {column}: {what}")]
    At {
        line: usize,
        column: usize,
        what: String,
    },
    #[error("the expression is beyond the compiler")]
    Panicked,
    #[error("it is {0}, and has to be true or false; compare it with something")]
    NotBool(String),
}

/// What a condition says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Matched,
    NotMatched,
    /// It could not be said; counts as no match.
    Failed(Failure),
}

/// Why a condition said neither yes nor no. Never shows a value of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("it is {0}, not true or false")]
    NotBool(String),
    #[error("{0}")]
    Evaluation(String),
    #[error("it is too costly for this event")]
    Budget,
    #[error("the event's data cannot be read: it is not JSON")]
    Data,
    #[error("the condition does not compile any more: {0}")]
    Invalid(InvalidCondition),
    #[error("the evaluation broke down")]
    Panicked,
}

impl Failure {
    /// A name of fixed spelling, for metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotBool(_) => "not_bool",
            Self::Evaluation(_) => "evaluation",
            Self::Budget => "budget",
            Self::Data => "data",
            Self::Invalid(_) => "invalid",
            Self::Panicked => "panicked",
        }
    }
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn compile(source: &str) -> Result<Self, InvalidCondition> {
        if source.trim().is_empty() {
            return Err(InvalidCondition::Empty);
        }
        if source.len() > limits::CONDITION_BYTES {
            return Err(InvalidCondition::TooLong {
                limit: limits::CONDITION_BYTES,
            });
        }

        catch_unwind(|| Self::compiled(source)).unwrap_or(Err(InvalidCondition::Panicked))
    }

    fn compiled(source: &str) -> Result<Self, InvalidCondition> {
        let (expression, places) = env::parse(source)?;
        let guarded = guard::guard(expression, &places, source)?;
        Ok(Self {
            source: source.to_owned(),
            expression: guarded.expression,
            regexes: guarded.regexes,
            nodes: guarded.nodes,
            reads_data: guarded.reads_data,
        })
    }

    /// Refuses what is no condition whatever the event: an expression that needs nothing of an event's data and is
    /// neither true nor false. What depends on the data is known when there is some.
    ///
    /// # Errors
    /// What it is instead.
    pub fn check(&self) -> Result<(), InvalidCondition> {
        let (attributes, data) = (BTreeMap::new(), Bytes::from_static(b"{}"));
        let sample = Facts {
            id: "sample",
            event_type: "sample",
            tenant: None,
            channel: None,
            attributes: &attributes,
            occurred_at: Timestamp::EPOCH,
            data: Some(&data),
        };
        match self.judge(&Subject::new(sample)) {
            Verdict::Failed(Failure::NotBool(what)) => Err(InvalidCondition::NotBool(what)),
            Verdict::Matched | Verdict::NotMatched | Verdict::Failed(_) => Ok(()),
        }
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates it for an event.
    ///
    /// What people write takes microseconds. The costliest expressions that were tried took 30 to 330 ms and 6 MiB, in a
    /// release build on two cores that other builds kept busy (docs/adr/0002-libraries.md).
    pub fn judge(&self, subject: &Subject<'_>) -> Verdict {
        self.judge_within(subject, limits::CONDITION_BUDGET).0
    }

    /// Evaluates it with a budget of its own, and answers what it has spent. With less than
    /// [`limits::CONDITION_BUDGET`], a [`Failure::Budget`] says nothing of the condition.
    pub fn judge_within(&self, subject: &Subject<'_>, most: u64) -> (Verdict, u64) {
        let budget = Arc::new(Budget::new(most));
        let judged = catch_unwind(AssertUnwindSafe(|| self.evaluate(subject, &budget)));
        let verdict = match judged.unwrap_or(Err(Failure::Panicked)) {
            Ok(true) => Verdict::Matched,
            Ok(false) => Verdict::NotMatched,
            Err(failure) => Verdict::Failed(failure),
        };
        (verdict, most - budget.left())
    }

    fn evaluate(&self, subject: &Subject<'_>, budget: &Arc<Budget>) -> Result<bool, Failure> {
        if self.reads_data && !subject.has_data() {
            return Err(Failure::Data);
        }
        let mut context = Context::with_env(env::standard());
        context.set_variable_resolver(subject);
        context.add_variable_as_val(METER, Box::new(Meter(budget.clone())));
        self.regexes.bind(&mut context);
        let paid = budget.charge(self.nodes);
        let value = paid.map_err(|_| Failure::Budget).and_then(|()| {
            Cel::resolve_val(&self.expression, &context).map_err(|error| Failure::Evaluation(say(&error)))
        });
        // Errors can be absorbed (`error || true`), a spent budget cannot.
        if budget.is_spent() {
            return Err(Failure::Budget);
        }
        let value = value?;
        match value.downcast_ref::<CelBool>() {
            Some(value) => Ok(*value.inner()),
            None => Err(Failure::NotBool(article(value.get_type().name()))),
        }
    }
}

/// An error in our words: the library's own show values, which are the event's.
fn say(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("there is no member {}", short(name)),
        ExecutionError::NoSuchOverload(error) => format!(
            "{} does not take {}",
            operator(error.function()),
            error.argument_types().join(" and ")
        ),
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            format!("{name} does not take {} and {}", left.type_of(), right.type_of())
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} do not compare", left.type_of(), right.type_of())
        }
        ExecutionError::UnexpectedType { got, want } => {
            format!("{} where {} is needed", article(got), article(want))
        }
        ExecutionError::UndeclaredReference(name) => format!("there is no {}", short(name)),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => values::OUT_OF_RANGE.to_owned(),
        ExecutionError::InternalError(what)
            if [values::HALF_TEXT, values::OUT_OF_RANGE].contains(&&**what) =>
        {
            what.clone()
        }
        ExecutionError::IndexOutOfBounds(_) => "an index out of bounds".to_owned(),
        ExecutionError::FunctionError { function, .. } => {
            format!("{} does not take this value", operator(function))
        }
        _ => "a value of the wrong kind".to_owned(),
    }
}

/// An operator as it is written.
fn operator(function: &str) -> &str {
    match function {
        "@in" => "in",
        "_._" => "the dot",
        "_[_]" => "an index",
        other => other.trim_matches('_'),
    }
}

fn article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    match name {
        "null_type" => "null".to_owned(),
        name => format!("{article} {}", short(name)),
    }
}

/// The beginning of a name that may have come from the event.
fn short(name: &str) -> String {
    const MOST: usize = 64;
    let visible: String = name
        .chars()
        .filter(|letter| !super::event::is_unsafe(*letter))
        .take(MOST)
        .collect();
    if visible.len() < name.len() {
        format!("{visible}…")
    } else {
        visible
    }
}
