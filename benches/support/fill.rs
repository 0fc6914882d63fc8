//! A deep queue: endpoints that are down, and events that wait for them.

use std::{sync::Arc, time::Instant};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    client::NDJSON,
    load::{self, BATCH},
    server::Server,
    settings::Settings,
};

/// Connections on which endpoints are created, and batches handed over.
const CONNECTIONS: usize = 16;

/// What the server needs to hold so much: room for the endpoints, and nothing that is forgotten for its size.
pub fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    let endpoints = settings.endpoints.max(settings.idle) + 100;
    vec![
        ("POSTHASTE_LIMITS__ENDPOINTS", endpoints.to_string()),
        ("POSTHASTE_STORAGE__MAX_HELD_BYTES", "1TiB".to_owned()),
        ("POSTHASTE_STORAGE__MAX_JOURNAL_BYTES", "1TiB".to_owned()),
    ]
}

/// Creates endpoints from their documents, several at a time; answers how many a second.
pub async fn endpoints(server: &Server, documents: impl Iterator<Item = serde_json::Value>) -> f64 {
    let started = Instant::now();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (mut creating, mut count) = (JoinSet::new(), 0);
    let (free, mut clients) = tokio::sync::mpsc::channel(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        free.try_send(server.client().await).ok().unwrap();
    }
    for document in documents {
        let place = places.clone().acquire_owned().await.unwrap();
        let (mut client, free) = (clients.recv().await.unwrap(), free.clone());
        count += 1;
        creating.spawn(async move {
            client.command("/v1/endpoints", &document).await;
            free.try_send(client).ok().unwrap();
            drop(place);
        });
        while creating
            .try_join_next()
            .is_some_and(|done| done.map(|()| true).unwrap())
        {}
    }
    creating.join_all().await;
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// Endpoints that answer 503 and are asked again in an hour: a type for each `fan_out` of them.
pub async fn down(server: &Server, settings: &Settings, url: &str) -> f64 {
    let document = |place: u64| {
        json!({
            "url": url, "events": [kind(place / settings.fan_out)], "disable_on": "never",
            "retry": {"retries": 20, "delay": "1h"},
        })
    };
    endpoints(server, (0..settings.endpoints).map(document)).await
}

fn kind(group: u64) -> String {
    format!("deep.g{group}")
}

/// Hands events over until so many deliveries more wait; answers how many events a second.
pub async fn deliveries(server: &Server, settings: &Settings, count: u64, bytes: usize) -> f64 {
    let groups = (settings.endpoints / settings.fan_out).max(1);
    let events = count / settings.fan_out;
    filled(server, events, bytes, |event| kind(event % groups)).await
}

/// Hands so many events of one type over; answers how many a second.
pub async fn of_kind(server: &Server, kind: &str, events: u64, bytes: usize) -> f64 {
    filled(server, events, bytes, |_| kind.to_owned()).await
}

async fn filled(server: &Server, events: u64, bytes: usize, kind: impl Fn(u64) -> String) -> f64 {
    let started = Instant::now();
    let mut client = server.client().await;
    let mut sent = 0;
    while sent < events {
        let lines = (events - sent).min(BATCH as u64);
        let mut body = String::with_capacity(lines as usize * (bytes + 64));
        for event in sent..sent + lines {
            body += &load::event_of(&kind(event), "", bytes);
            body += "\n";
        }
        load::accepted(client.post("/v1/events", NDJSON, body).await, lines);
        sent += lines;
    }
    server.settle().await;
    events as f64 / started.elapsed().as_secs_f64()
}
