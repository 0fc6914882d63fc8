//! Many events in one request, one a line, read and accepted as they come.
//!
//! Lines are gathered into groups; a group is handed over while the next one is read, so a batch is neither held
//! in memory nor made to wait for its end. What was handed over stays accepted when the client hangs up: its retry,
//! with the same ids, gets the same answers.

mod lines;
mod pipeline;

use axum::body::Body;
use serde_json::{Map, Value};

use self::{lines::Lines, pipeline::Pipeline};
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
        self.results.push(match result {
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
                if problem.status().is_server_error() {
                    self.unavailable.get_or_insert(problem.kind());
                }
                serde_json::json!({ "problem": problem.to_value() })
            }
        });
    }
}

/// Reads a batch and hands it over group by group to `accept`, which answers each event in order.
///
/// # Errors
/// When no line was accepted, and when the body breaks a limit or breaks off; the problem then carries what became
/// of the lines before.
pub async fn run<F, A>(mut body: Body, limits: BatchLimits, accept: F) -> Result<Summary, Problem>
where
    F: Fn(Vec<NewEvent>) -> A,
    A: Future<Output = Vec<Result<Accepted, EngineError>>>,
{
    let mut lines = Lines::new(limits);
    let mut pipeline = Pipeline::new(accept);
    let stopped = loop {
        while let Some(line) = lines.next() {
            pipeline.push(line).await;
        }
        if let Some(problem) = lines.broken.take() {
            break Some(problem);
        }
        if lines.ended {
            break None;
        }
        match pipeline.while_reading(body::next_data(&mut body)).await {
            Ok(Some(data)) => lines.feed(&data),
            Ok(None) => lines.end(),
            Err(problem) => break Some(problem),
        }
    };
    let summary = pipeline.finish().await;
    match stopped {
        Some(problem) => Err(summary.into_problem(problem)),
        None if summary.accepted + summary.duplicates == 0 => Err(nothing_accepted(summary)),
        None => Ok(summary),
    }
}

fn nothing_accepted(summary: Summary) -> Problem {
    let detail = match summary.rejected {
        0 => "the body holds no event; send one JSON document a line",
        _ => "each line has its own problem in results",
    };
    let kind = summary.unavailable.unwrap_or(Kind::BatchRejected);
    summary.into_problem(Problem::new(kind, detail))
}

/// A line as it was read.
type Line = Result<NewEvent, Problem>;

#[cfg(test)]
mod tests;
