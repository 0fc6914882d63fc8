//! A batch: NDJSON of any size, sent in as many requests as it takes.
//!
//! The lines go out in order, and each request is answered before the next one is made, so that the first line that was
//! not sent is known whatever happens.

use std::io::{self, IsTerminal as _, Write as _};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::{Line, Lines};
use crate::cli::{
    client::{Answer, Client, ClientError, Path, Refusal},
    failure::Failed,
    limits::BATCH_LINES,
    output::{Output, note},
};

/// The answer to one request: a result for each line that the server looked at, in order.
#[derive(Deserialize)]
struct Results {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    results: Vec<LineResult>,
}

#[derive(Deserialize)]
struct LineResult {
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    duplicate: bool,
    problem: Option<LineProblem>,
}

impl LineResult {
    /// Whether the server could not take the line now, though it may later.
    fn is_temporary(&self) -> bool {
        self.problem.as_ref().is_some_and(LineProblem::is_temporary)
    }

    fn is_unmatched(&self) -> bool {
        self.problem.is_none() && !self.duplicate && self.deliveries == 0
    }
}

#[derive(Deserialize)]
struct LineProblem {
    status: Option<u16>,
    title: Option<String>,
    detail: Option<String>,
}

impl LineProblem {
    fn is_temporary(&self) -> bool {
        self.status.is_some_and(|status| status == 429 || status >= 500)
    }

    fn text(&self) -> &str {
        let text = self.detail.as_deref().or(self.title.as_deref());
        text.unwrap_or("it was refused without a reason")
    }
}

/// What became of all lines so far.
#[derive(Default)]
struct Totals {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    unmatched: u64,
}

impl Totals {
    fn add(&mut self, results: &Results) {
        self.accepted += results.accepted;
        self.duplicates += results.duplicates;
        let count =
            |is: fn(&LineResult) -> bool| results.results.iter().filter(|line| is(line)).count() as u64;
        self.rejected += results.rejected.saturating_sub(count(LineResult::is_temporary));
        self.unmatched += count(LineResult::is_unmatched);
    }

    const fn lines(&self) -> u64 {
        self.accepted + self.duplicates + self.rejected
    }

    fn text(&self) -> String {
        let Self {
            accepted,
            duplicates,
            rejected,
            unmatched,
        } = self;
        let unmatched = match unmatched {
            0 => String::new(),
            count => format!(" ({count} matched no endpoint)"),
        };
        format!("{accepted} accepted{unmatched}, {duplicates} duplicates, {rejected} rejected")
    }
}

/// Sends the lines of `source`, and prints what became of them.
///
/// # Errors
///
/// [`Failed`] when a line was rejected, and when sending stopped early; the text names the first line that was not sent.
pub async fn send(client: &Client, output: Output, source: &str) -> anyhow::Result<()> {
    let mut lines = Lines::open(source)?;
    let mut sending = Sending {
        client,
        output,
        totals: Totals::default(),
        most: BATCH_LINES,
    };
    let sent = sending.send_all(&mut lines).await;
    let Sending { totals, .. } = sending;
    clear_progress();
    if let Err(Stop { line, why }) = sent {
        let text = format!(
            "stopped at line {line}, {why:#}; {} before it; send again from line {line} on",
            totals.text()
        );
        return Err(Failed(text).into());
    }
    if !output.is_json() {
        output.text(&totals.text())?;
    } else if totals.unmatched > 0 {
        note(&format!(
            "{} accepted events matched no endpoint",
            totals.unmatched
        ));
    }
    all_taken(totals.rejected, totals.lines(), "line")
}

/// Why no further line was sent, and the first that was not, or not surely.
struct Stop {
    line: u64,
    why: anyhow::Error,
}

struct Sending<'a> {
    client: &'a Client,
    output: Output,
    totals: Totals,
    /// Lines in one request; fewer than [`BATCH_LINES`] when the server's own limits are lower.
    most: usize,
}

impl Sending<'_> {
    async fn send_all(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        loop {
            let batch = lines.next_batch().await;
            self.send_batch(&batch.lines).await?;
            show_progress(self.totals.lines());
            match batch.end {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err((line, why))) => return Err(Stop { line, why }),
            }
        }
    }

    /// Lines that the server did not look at, because its own limits are lower than ours, go out in smaller requests.
    async fn send_batch(&mut self, mut rest: &[Line]) -> Result<(), Stop> {
        while let Some(first) = rest.first() {
            let portion = &rest[..rest.len().min(self.most)];
            let stop = |why| Stop {
                line: first.number,
                why,
            };
            let answer = self.post(portion).await.map_err(|error| stop(error.into()))?;
            let results = read(&answer).map_err(stop)?;
            self.tell(&answer, &results, portion)?;
            let done = results.results.len().min(portion.len());
            if done < portion.len() {
                let too_large = answer.status == StatusCode::PAYLOAD_TOO_LARGE;
                self.most = match done {
                    0 if too_large && portion.len() > 1 => portion.len() / 2,
                    1.. if too_large => done,
                    _ => {
                        return Err(Stop {
                            line: portion[done].number,
                            why: refusal(&answer).into(),
                        });
                    }
                };
            }
            rest = &rest[done..];
        }
        Ok(())
    }

    async fn post(&self, lines: &[Line]) -> Result<Answer, ClientError> {
        let headers = [
            (
                header::CONTENT_TYPE.as_str(),
                HeaderValue::from_static("application/x-ndjson"),
            ),
            (
                header::ACCEPT.as_str(),
                HeaderValue::from_static("application/json"),
            ),
        ];
        let body: Vec<u8> = lines.iter().flat_map(|line| &line.bytes).copied().collect();
        let body = Full::new(Bytes::from(body))
            .map_err(|never| match never {})
            .boxed_unsync();
        let path = Path::new(&["events"]);
        self.client.exchange(Method::POST, &path, &headers, body).await
    }

    /// Counts and prints what became of the lines of one request. A line that the server could not take now stops the
    /// rest, which it would only refuse as well.
    fn tell(&mut self, answer: &Answer, results: &Results, lines: &[Line]) -> Result<(), Stop> {
        let first = lines.first().map_or(0, |line| line.number);
        if self.output.is_json() && !results.results.is_empty() {
            let printed = answer
                .read::<Box<RawValue>>()
                .and_then(|answer| self.output.one(&answer));
            printed.map_err(|why| Stop { line: first, why })?;
        }
        self.totals.add(results);
        for (line, result) in lines.iter().zip(&results.results) {
            let Some(problem) = &result.problem else { continue };
            if problem.is_temporary() {
                return Err(Stop {
                    line: line.number,
                    why: anyhow::anyhow!("{}", problem.text()),
                });
            }
            if !self.output.is_json() {
                clear_progress();
                note(&format!("line {}: {}", line.number, problem.text()));
            }
        }
        Ok(())
    }
}

/// The results in an answer: those of the lines before the limit when the whole was refused.
fn read(answer: &Answer) -> anyhow::Result<Results> {
    match serde_json::from_slice(&answer.body) {
        Ok(results) => Ok(results),
        Err(_) if answer.status == StatusCode::PAYLOAD_TOO_LARGE => Ok(Results {
            accepted: 0,
            duplicates: 0,
            rejected: 0,
            results: Vec::new(),
        }),
        Err(_) if answer.status.is_success() => Ok(answer.read()?),
        Err(_) => Err(refusal(answer).into()),
    }
}

fn refusal(answer: &Answer) -> ClientError {
    ClientError::Refused(Refusal::read(answer.status, &answer.body))
}

/// Prints what became of each event of a list that was sent in one request.
///
/// # Errors
///
/// A refusal of the whole, or of its rest; [`Failed`] when an event was rejected.
pub fn tell_list(output: Output, answer: &Answer) -> anyhow::Result<()> {
    let Ok(results) = serde_json::from_slice::<Results>(&answer.body) else {
        if answer.status.is_success() {
            answer.read::<Results>()?;
        }
        return Err(refusal(answer).into());
    };
    let mut totals = Totals::default();
    totals.add(&results);
    for (index, result) in results.results.iter().enumerate() {
        if let Some(problem) = &result.problem
            && !output.is_json()
        {
            note(&format!("event {}: {}", index + 1, problem.text()));
        }
    }
    let whole = answer.status.is_success() || totals.rejected == totals.lines() && totals.lines() > 0;
    if output.is_json() {
        output.one(&answer.read::<Box<RawValue>>()?)?;
    } else if whole {
        output.text(&totals.text())?;
    }
    if !whole {
        let next = results.results.len() + 1;
        let text = format!(
            "stopped at event {next}, {}; {} before it",
            refusal(answer),
            totals.text()
        );
        return Err(Failed(text).into());
    }
    all_taken(totals.rejected, totals.lines(), "event")
}

fn all_taken(rejected: u64, all: u64, place: &str) -> anyhow::Result<()> {
    match rejected {
        0 => Ok(()),
        count => Err(Failed(format!("{count} of {all} {place}s were rejected")).into()),
    }
}

/// Overwrites the line that a person sees; a file or a pipe gets none.
fn show_progress(lines: u64) {
    if io::stderr().is_terminal() {
        let mut terminal = io::stderr();
        let _ = write!(terminal, "\r{lines} lines sent");
        let _ = terminal.flush();
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
