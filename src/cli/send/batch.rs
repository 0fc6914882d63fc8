//! A batch: NDJSON, streamed as it is read.

use anyhow::Context as _;
use bytes::BytesMut;
use futures_util::stream;
use http::{HeaderValue, Method, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{fs, io, os::fd::AsFd as _};
use tokio::{fs::File, io::AsyncReadExt as _};

use crate::cli::{
    client::{Answer, Body, Client, ClientError, Path, Refusal},
    failure::{Failed, Usage},
    input::Source,
    limits::CHUNK_BYTES,
    output::{Output, note},
};

/// The answer to a batch: a result for each line, in order.
#[derive(Deserialize)]
struct Results {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    results: Vec<LineResult>,
}

#[derive(Deserialize)]
struct LineResult {
    problem: Option<Value>,
}

/// Sends the lines of `source` and prints what became of them.
///
/// # Errors
///
/// No answer, a refusal of the whole, or [`Failed`] when a line was refused.
pub async fn send(client: &Client, output: Output, source: &str) -> anyhow::Result<()> {
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
    let body = streamed(open(source)?);
    let answer = client
        .exchange(Method::POST, &Path::new(&["events"]), &headers, body)
        .await?;
    tell(output, &answer, "line")
}

/// Prints what became of each event of a batch; `place` is what one is called.
///
/// # Errors
///
/// A refusal of the whole, or [`Failed`] when an event was refused.
pub fn tell(output: Output, answer: &Answer, place: &str) -> anyhow::Result<()> {
    let Ok(results) = serde_json::from_slice::<Results>(&answer.body) else {
        if answer.status.is_success() {
            answer.read::<Results>()?;
        }
        return Err(ClientError::Refused(Refusal::read(answer.status, &answer.body)).into());
    };
    if output.is_json() {
        output.one(&answer.read::<Box<RawValue>>()?)?;
    } else {
        output.text(&format!(
            "{} accepted, {} duplicates, {} rejected",
            results.accepted, results.duplicates, results.rejected
        ))?;
        tell_rejected(&results, place);
    }
    match results.rejected {
        0 => Ok(()),
        count => Err(Failed(format!(
            "{count} of {} {place}s were rejected",
            results.results.len()
        ))
        .into()),
    }
}

fn tell_rejected(results: &Results, place: &str) {
    for (index, result) in results.results.iter().enumerate() {
        let Some(problem) = &result.problem else { continue };
        let text = problem
            .get("detail")
            .or_else(|| problem.get("title"))
            .unwrap_or(problem);
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        note(&format!("{place} {}: {text}", index + 1));
    }
}

fn open(source: &str) -> anyhow::Result<File> {
    let file = match Source::of(source) {
        Source::Stdin => fs::File::from(
            io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .context("cannot read stdin")?,
        ),
        Source::File(path) => fs::File::open(path).with_context(|| format!("cannot read {path}"))?,
        Source::Inline(_) => return Err(Usage("--batch takes @FILE, or - for stdin".to_owned()).into()),
    };
    Ok(File::from_std(file))
}

fn streamed(file: File) -> Body {
    let chunks = stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(chunk.freeze())), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    });
    StreamBody::new(chunks).boxed_unsync()
}
