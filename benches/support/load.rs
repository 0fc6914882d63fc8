//! Events on their way in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    client::{Client, JSON, NDJSON},
    lags,
    receiver::Receiver,
    server::Server,
};

/// Lines of one batch.
pub const BATCH: usize = 2000;

/// An event whose payload (`data`) is `bytes` long.
pub fn event(bytes: usize) -> String {
    event_of("bench.run", "", bytes)
}

/// An event of a type, whose payload begins with some members and is `bytes` long.
pub fn event_of(kind: &str, members: &str, bytes: usize) -> String {
    let data = r#"{"text":""}"#.len() + members.len();
    let text = "x".repeat(bytes.saturating_sub(data));
    format!(r#"{{"type":"{kind}","data":{{{members}"text":"{text}"}}}}"#)
}

/// What a steady load is.
#[derive(Clone, Copy)]
pub struct Steady {
    pub kind: &'static str,
    pub per_second: f64,
    pub bytes: usize,
    /// The first event's number; each has the next.
    pub first: u64,
}

/// Posts events at a steady rate, whether or not those before them were answered in time, as far as the connections
/// reach; answers how many. Each carries when it was due to be posted.
pub async fn steady(server: &Server, receiver: &Arc<Receiver>, load: Steady, run: Duration) -> u64 {
    const CONNECTIONS: u64 = 16;
    let interval = Duration::from_secs_f64(1.0 / load.per_second);
    let count = (run.as_secs_f64() * load.per_second).max(1.0) as u64;
    let started = Instant::now();
    let mut posting = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (mut client, receiver) = (server.client().await, receiver.clone());
        posting.spawn(async move {
            for place in (first..count).step_by(CONNECTIONS as usize) {
                let due = started + interval.mul_f64(place as f64);
                tokio::time::sleep_until(due.into()).await;
                let marks = lags::marks(load.first + place, due - receiver.started);
                let event = event_of(load.kind, &marks, load.bytes);
                post(&mut client, Bytes::from(event)).await;
            }
        });
    }
    posting.join_all().await;
    count
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
    accepted(client.post("/v1/events", NDJSON, body).await, lines as u64);
}

/// Checks the answer to a batch: all of it was accepted.
pub fn accepted((status, answer): (StatusCode, Bytes), lines: u64) {
    assert_eq!(
        status,
        StatusCode::ACCEPTED,
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["accepted"], lines);
}
