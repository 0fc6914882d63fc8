//! Groups of lines on their way to the engine.

use std::pin::Pin;

use super::{Line, Summary};
use crate::{
    api::problem::Problem,
    dispatch::{error::EngineError, view::Accepted},
    domain::event::NewEvent,
};

/// Lines that are handed over at once: enough for one sync of the journal to be shared by many, few enough to be
/// held while the next are read.
const GROUP_LINES: usize = 256;
/// Bytes after which a group is handed over although it has fewer lines.
const GROUP_BYTES: usize = 1024 * 1024;

/// Groups on their way: at most one is being accepted while another one is gathered.
pub struct Pipeline<F, A> {
    accept: F,
    gathered: Vec<Line>,
    gathered_bytes: usize,
    in_flight: Option<Group<A>>,
    summary: Summary,
}

/// A group that is being accepted.
struct Group<A> {
    /// For each of its lines, why it was not handed over; `None` for those that were.
    problems: Vec<Option<Problem>>,
    accepting: Pin<Box<A>>,
}

impl<F, A> Pipeline<F, A>
where
    F: Fn(Vec<NewEvent>) -> A,
    A: Future<Output = Vec<Result<Accepted, EngineError>>>,
{
    pub fn new(accept: F) -> Self {
        let summary = Summary::default();
        Self {
            accept,
            gathered: Vec::new(),
            gathered_bytes: 0,
            in_flight: None,
            summary,
        }
    }

    /// The same; problems say where they are.
    pub fn pointing(accept: F) -> Self {
        let mut pipeline = Self::new(accept);
        pipeline.summary.points = true;
        pipeline
    }

    pub async fn push(&mut self, line: Line) {
        self.gathered_bytes += line.as_ref().map_or(0, |event| event.payload.bytes.len());
        self.gathered.push(line);
        if self.gathered.len() >= GROUP_LINES || self.gathered_bytes >= GROUP_BYTES {
            self.hand_over().await;
        }
    }

    /// Waits for `reading`, and lets the group in flight go on meanwhile.
    pub async fn while_reading<T>(&mut self, reading: impl Future<Output = T>) -> T {
        let mut reading = std::pin::pin!(reading);
        let Some(group) = &mut self.in_flight else {
            return reading.await;
        };
        tokio::select! {
            biased;
            answers = &mut group.accepting => self.settle(answers),
            read = &mut reading => return read,
        }
        reading.await
    }

    async fn hand_over(&mut self) {
        self.wait().await;
        self.gathered_bytes = 0;
        let mut events = Vec::with_capacity(self.gathered.len());
        let mut problems = Vec::with_capacity(self.gathered.len());
        for line in self.gathered.drain(..) {
            match line {
                Ok(event) => {
                    events.push(event);
                    problems.push(None);
                }
                Err(problem) => problems.push(Some(problem)),
            }
        }
        if events.is_empty() {
            return self.record(problems, Vec::new());
        }
        let accepting = Box::pin((self.accept)(events));
        self.in_flight = Some(Group { problems, accepting });
    }

    async fn wait(&mut self) {
        if let Some(group) = &mut self.in_flight {
            let answers = (&mut group.accepting).await;
            self.settle(answers);
        }
    }

    fn settle(&mut self, answers: Vec<Result<Accepted, EngineError>>) {
        if let Some(group) = self.in_flight.take() {
            self.record(group.problems, answers);
        }
    }

    fn record(&mut self, problems: Vec<Option<Problem>>, answers: Vec<Result<Accepted, EngineError>>) {
        let mut answers = answers.into_iter();
        for problem in problems {
            self.summary.push(match problem {
                Some(problem) => Err(problem),
                None => answers
                    .next()
                    .unwrap_or(Err(EngineError::Stopping))
                    .map_err(Problem::from),
            });
        }
    }

    pub async fn finish(mut self) -> Summary {
        if !self.gathered.is_empty() {
            self.hand_over().await;
        }
        self.wait().await;
        self.summary
    }
}
