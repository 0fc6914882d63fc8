//! Events on their way in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    client::{Client, JSON, NDJSON},
    receiver::Receiver,
    server::Server,
};

/// Lines of one batch.
pub const BATCH: usize = 2000;

/// An event whose payload (`data`) is `bytes` long.
pub fn event(bytes: usize) -> String {
    let data = r#"{"text":""}"#.len();
    format!(
        r#"{{"type":"bench.run","data":{{"text":"{}"}}}}"#,
        "x".repeat(bytes - data)
    )
}

/// Posts one event a request on `connections` connections, as fast as they are answered; answers how many were
/// accepted a second.
pub async fn enqueue(server: &Server, connections: usize, bytes: usize, run: Duration) -> f64 {
    let body = Bytes::from(event(bytes));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(server.client().await);
    }
    let started = Instant::now();
    let mut posting = JoinSet::new();
    for mut client in clients {
        let body = body.clone();
        posting.spawn(async move {
            let mut accepted = 0_u64;
            while started.elapsed() < run {
                post(&mut client, body.clone()).await;
                accepted += 1;
            }
            accepted
        });
    }
    let accepted = posting.join_all().await.into_iter().sum::<u64>();
    accepted as f64 / started.elapsed().as_secs_f64()
}

/// Posts events while at most `outstanding` deliveries, `fan_out` for each event, are on their way; answers how many
/// events were accepted.
pub async fn enqueue_as_delivered(
    server: &Server,
    receiver: &Arc<Receiver>,
    bytes: usize,
    fan_out: u32,
    outstanding: usize,
    run: Duration,
) -> u64 {
    let body = Bytes::from(event(bytes));
    receiver.arrived.add_permits(outstanding);
    let started = Instant::now();
    let mut posting = JoinSet::new();
    for _ in 0..16 {
        let (mut client, receiver, body) = (server.client().await, receiver.clone(), body.clone());
        posting.spawn(async move {
            let mut accepted = 0_u64;
            while started.elapsed() < run {
                receiver.arrived.acquire_many(fan_out).await.unwrap().forget();
                post(&mut client, body.clone()).await;
                accepted += 1;
            }
            accepted
        });
    }
    posting.join_all().await.into_iter().sum()
}

pub async fn post(client: &mut Client, body: Bytes) {
    let (status, answer) = client.post("/v1/events", JSON, body).await;
    assert_eq!(
        status,
        StatusCode::ACCEPTED,
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// Posts a batch, all of whose events must be accepted.
pub async fn batch(client: &mut Client, lines: usize, bytes: usize) {
    let body = (event(bytes) + "\n").repeat(lines);
    let (status, answer) = client.post("/v1/events", NDJSON, body).await;
    assert_eq!(
        status,
        StatusCode::ACCEPTED,
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["accepted"], lines);
}
