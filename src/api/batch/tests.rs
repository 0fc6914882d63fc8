//! Batches from pieces of a body, against an engine of a few lines.

use std::{cell::RefCell, convert::Infallible};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::api::event_document;

const LIMITS: BatchLimits = BatchLimits {
    lines: 1000,
    bytes: 1_000_000,
    line_bytes: 200,
};

fn line(id: &str) -> String {
    format!("{{\"type\":\"a\",\"id\":\"{id}\",\"data\":1}}\n")
}

fn body(text: &str, piece_bytes: usize) -> Body {
    let pieces = text
        .as_bytes()
        .chunks(piece_bytes)
        .map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = pieces.map(Ok::<_, Infallible>).collect();
    Body::new(StreamBody::new(stream::iter(pieces)))
}

async fn accept(events: Vec<NewEvent>) -> Vec<Result<Accepted, EngineError>> {
    let answer = |event: NewEvent| {
        let id = event.id.unwrap();
        let duplicate = id.as_str().starts_with("twice");
        match id.as_str() {
            "full" => Err(EngineError::DiskFull),
            _ => Ok(Accepted {
                id,
                event_type: event.event_type,
                deliveries: 1,
                duplicate,
                deprecated: false,
            }),
        }
    };
    events.into_iter().map(answer).collect()
}

async fn members(text: &str, limits: BatchLimits) -> Result<Value, Value> {
    match run(body(text, 7), limits, event_document::read, accept).await {
        Ok(summary) => Ok(summary.into_members().into()),
        Err(problem) => Err(problem.to_value()),
    }
}

#[tokio::test]
async fn every_line_is_answered_in_order() {
    let long = format!("{{\"type\":\"a\",\"data\":\"{}\"}}\r\n", "x".repeat(1000));
    let text = [
        &line("e1"),
        "\n",
        "nonsense\n",
        &line("twice"),
        " \r\n",
        &long,
        line("e2").trim_end(),
    ]
    .concat();
    let answer = members(&text, LIMITS).await.unwrap();
    let counts = ["accepted", "duplicates", "rejected"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 2]);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(
        [&results[0]["id"], &results[2]["id"], &results[4]["id"]],
        ["e1", "twice", "e2"]
    );
    let kinds = [&results[1]["problem"]["status"], &results[3]["problem"]["status"]];
    assert_eq!(kinds, [&400, &413]);
}

#[tokio::test]
async fn many_lines_are_handed_over_in_groups() {
    let text: String = (0..900).map(|number| line(&number.to_string())).collect();
    let groups = RefCell::new(Vec::new());
    let counting = |events: Vec<NewEvent>| {
        groups.borrow_mut().push(events.len());
        accept(events)
    };
    let summary = run(body(&text, 1000), LIMITS, event_document::read, counting)
        .await
        .unwrap();
    assert_eq!(*groups.borrow(), [256, 256, 256, 132]);
    let ids: Vec<_> = summary
        .results
        .iter()
        .map(|result| result["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, (0..900).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_body_is_read_on_while_a_group_is_accepted() {
    let text: String = (0..300).map(|number| line(&number.to_string())).collect();
    let (read_all, end) = tokio::sync::oneshot::channel::<()>();
    // The channel closes when the body has been read to its end; the first group is accepted only then.
    let mut pieces: Vec<_> = text
        .as_bytes()
        .chunks(100)
        .rev()
        .map(Bytes::copy_from_slice)
        .collect();
    let mut read_all = Some(read_all);
    let pieces = stream::poll_fn(move |_| {
        let piece = pieces.pop().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        if piece.is_none() {
            read_all.take();
        }
        std::task::Poll::Ready(piece)
    });
    let end = RefCell::new(Some(end));
    let waiting = |events: Vec<NewEvent>| {
        let end = end.borrow_mut().take();
        async move {
            if let Some(end) = end {
                end.await.unwrap_err();
            }
            accept(events).await
        }
    };
    let running = run(
        Body::new(StreamBody::new(pieces)),
        LIMITS,
        event_document::read,
        waiting,
    );
    let summary = tokio::time::timeout(std::time::Duration::from_secs(1), running)
        .await
        .expect("no deadlock");
    assert_eq!(summary.unwrap().accepted, 300);
}

#[tokio::test]
async fn a_batch_without_one_accepted_line_is_a_problem_with_the_results() {
    let problem = members("1\n2\n", LIMITS).await.unwrap_err();
    assert_eq!(
        (&problem["status"], &problem["rejected"]),
        (&400.into(), &2.into())
    );
    assert_eq!(problem["results"].as_array().unwrap().len(), 2);
    assert_eq!(members("\n \n", LIMITS).await.unwrap_err()["status"], 400);
    assert_eq!(members(&line("full"), LIMITS).await.unwrap_err()["status"], 507);
}

#[tokio::test]
async fn a_batch_over_a_limit_says_what_became_of_the_lines_before() {
    let text: String = (0..10).map(|number| line(&number.to_string())).collect();
    let too_many = members(&text, BatchLimits { lines: 4, ..LIMITS })
        .await
        .unwrap_err();
    assert_eq!(
        (&too_many["status"], &too_many["accepted"]),
        (&413.into(), &4.into())
    );
    let too_long = members(&text, BatchLimits { bytes: 100, ..LIMITS })
        .await
        .unwrap_err();
    assert_eq!(
        (&too_long["status"], &too_long["accepted"]),
        (&413.into(), &3.into())
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_says_what_became_of_the_lines_before() {
    let pieces = [
        Ok(Frame::data(Bytes::from(line("e1")))),
        Err(axum::Error::new(body::BodyTimeout)),
    ];
    let body = Body::new(StreamBody::new(stream::iter(pieces)));
    let problem = run(body, LIMITS, event_document::read, accept)
        .await
        .unwrap_err()
        .to_value();
    assert_eq!(
        (&problem["status"], &problem["accepted"]),
        (&408.into(), &1.into())
    );
}
