//! Many events in one request, one a line or as a JSON list, read and accepted as they come.
//!
//! [`Lines`] and [`Elements`] cut the body into events; what either cuts is called a line here. Lines are gathered into
//! groups; a group is handed over while the next one is read, so a batch is neither held in memory nor made to wait for
//! its end. What was handed over stays accepted when the client hangs up: its retry, with the same ids, gets the same
//! answers.

mod elements;
mod lines;
mod pipeline;

use axum::body::Body;
use bytes::Bytes;
use serde_json::{Map, Value};

use self::{elements::Elements, lines::Lines, pipeline::Pipeline};
use super::{
    body,
    problem::{Kind, Problem},
};
use crate::{
    dispatch::{error::EngineError, view::Accepted},
    domain::event::NewEvent,
    telemetry::metrics,
};

/// How much one batch may be.
#[derive(Copy, Clone, Debug)]
pub struct BatchLimits {
    pub lines: usize,
    /// Bytes of the whole.
    pub bytes: usize,
    /// Bytes of one line.
    pub line_bytes: usize,
}

/// What became of each line, in order.
#[derive(Debug, Default)]
pub struct Summary {
    pub accepted: usize,
    pub duplicates: usize,
    pub rejected: usize,
    results: Vec<Value>,
    /// Why the server could take nothing more, when that is why a line was rejected.
    unavailable: Option<Kind>,
    /// Whether a problem says where in the body it is, as a JSON pointer.
    points: bool,
}

impl Summary {
    /// The members of the answer.
    pub fn into_members(self) -> Map<String, Value> {
        let counts = [
            ("accepted", self.accepted),
            ("duplicates", self.duplicates),
            ("rejected", self.rejected),
        ];
        let mut members: Map<_, _> = counts
            .map(|(name, count)| (name.to_owned(), count.into()))
            .into_iter()
            .collect();
        members.insert("results".into(), self.results.into());
        members
    }

    /// Puts the members into a problem.
    pub fn into_problem(self, problem: Problem) -> Problem {
        self.into_members()
            .into_iter()
            .fold(problem, |problem, (name, value)| problem.with(&name, value))
    }

    fn push(&mut self, result: Result<Accepted, Problem>) {
        let result = match result {
            Ok(accepted) => {
                let count = if accepted.duplicate {
                    &mut self.duplicates
                } else {
                    &mut self.accepted
                };
                *count += 1;
                serde_json::json!(accepted)
            }
            Err(problem) => {
                self.rejected += 1;
                metrics::event_rejected(problem.kind().slug());
                if problem.status().is_server_error() || problem.kind() == Kind::Busy {
                    self.unavailable.get_or_insert(problem.kind());
                }
                let problem = match self.points {
                    true => pointed(problem, self.results.len()),
                    false => problem,
                };
                serde_json::json!({ "problem": problem.to_value() })
            }
        };
        self.results.push(result);
    }
}

/// Adds where in the list the element at `place`, or its member at fault, is.
fn pointed(problem: Problem, place: usize) -> Problem {
    let member = problem.errors().first().map(|error| format!("/{}", error.field));
    let pointer = format!("/{place}{}", member.unwrap_or_default());
    problem.with("pointer", pointer.into())
}

/// A body that is cut into events as it comes.
trait Cut {
    /// Takes a piece of the body.
    fn feed(&mut self, data: &Bytes);

    /// The body has ended.
    fn end(&mut self);

    fn has_ended(&self) -> bool;

    /// The next event; `None` until it has come whole.
    fn next(&mut self) -> Option<Line>;

    /// Why nothing more is read, if a limit or rule of the whole batch is broken.
    fn broken(&mut self) -> Option<Problem>;

    /// What to say when the body holds no event; `None` when that is as good as any.
    fn nothing(&self) -> Option<&'static str>;
}

/// Reads a batch of lines, each by `read`, and hands it over group by group to `accept`, which answers each event in
/// order.
///
/// # Errors
/// When no line was accepted, and when the body breaks a limit or breaks off; the problem then carries what became
/// of the lines before.
pub async fn run<R, F, A>(body: Body, limits: BatchLimits, read: R, accept: F) -> Result<Summary, Problem>
where
    R: Fn(&Bytes) -> Line,
    F: Fn(Vec<NewEvent>) -> A,
    A: Future<Output = Vec<Result<Accepted, EngineError>>>,
{
    cut(body, Lines::new(limits, read), Pipeline::new(accept)).await
}

/// The same for the elements of a JSON list, each read by `read`. Problems carry a JSON pointer; an empty list is fine.
///
/// # Errors
/// As [`run`].
pub async fn run_list<R, F, A>(
    body: Body,
    limits: BatchLimits,
    read: R,
    accept: F,
) -> Result<Summary, Problem>
where
    R: Fn(&Bytes) -> Line,
    F: Fn(Vec<NewEvent>) -> A,
    A: Future<Output = Vec<Result<Accepted, EngineError>>>,
{
    cut(body, Elements::new(limits, read), Pipeline::pointing(accept)).await
}

async fn cut<F, A>(
    mut body: Body,
    mut lines: impl Cut,
    mut pipeline: Pipeline<F, A>,
) -> Result<Summary, Problem>
where
    F: Fn(Vec<NewEvent>) -> A,
    A: Future<Output = Vec<Result<Accepted, EngineError>>>,
{
    let stopped = loop {
        while let Some(line) = lines.next() {
            pipeline.push(line).await;
        }
        if let Some(problem) = lines.broken() {
            break Some(problem);
        }
        if lines.has_ended() {
            break None;
        }
        match pipeline.while_reading(body::next_data(&mut body)).await {
            Ok(Some(data)) => lines.feed(&data),
            Ok(None) => lines.end(),
            Err(problem) => break Some(problem),
        }
    };
    let summary = pipeline.finish().await;
    let nothing = (summary.rejected == 0).then(|| lines.nothing());
    match (stopped, nothing) {
        (Some(problem), _) => Err(summary.into_problem(problem)),
        (None, _) if summary.accepted + summary.duplicates > 0 => Ok(summary),
        (None, Some(None)) => Ok(summary),
        (None, Some(Some(detail))) => Err(nothing_accepted(summary, detail)),
        (None, None) => Err(nothing_accepted(
            summary,
            "each line has its own problem in results",
        )),
    }
}

fn nothing_accepted(summary: Summary, detail: &str) -> Problem {
    let kind = summary.unavailable.unwrap_or(Kind::BatchRejected);
    summary.into_problem(Problem::new(kind, detail))
}

/// A line as it was read.
type Line = Result<NewEvent, Problem>;

#[cfg(test)]
mod tests;
