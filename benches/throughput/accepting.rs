//! How fast events are accepted, beside bare appends of the same groups.
//!
//! Every event goes to one paused endpoint, so that it has its fan-out and its rows, and nothing is delivered.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Bench,
    limits::Appender,
    load::{self, BATCH},
    server::Server,
};

const PAYLOAD: usize = 256;

pub async fn single(bench: &mut Bench) {
    let fsync = paused(bench, "fsync").await;
    let os = paused(bench, "os").await;
    let run = bench.run();
    for _ in 0..bench.settings.runs {
        for connections in [1, 16] {
            let rate = load::enqueue(&fsync, connections, PAYLOAD, run).await;
            bench.add(
                &format!("accepted, fsync, {connections} connections"),
                "events/s",
                rate,
            );
        }
        let before = fsync.journal().await;
        let synced = load::enqueue(&fsync, 64, PAYLOAD, run).await;
        let journal = fsync.journal().await.since(before);
        fsync.settle().await;
        // Before the run without syncs, whose writing a sync would have to wait for.
        let group = journal.records / journal.groups;
        let bytes = journal.bytes / journal.groups;
        let appends = Appender::new(fsync.dir(), bytes as usize).rate(run / 2);
        let written = load::enqueue(&os, 64, PAYLOAD, run).await;
        os.settle().await;
        bench.add("accepted, fsync, 64 connections", "events/s", synced);
        bench.add("accepted, os, 64 connections", "events/s", written);
        bench.add(
            "accepted: fsync / os, 64 connections (aim 0.8)",
            "ratio",
            synced / written,
        );
        bench.add(
            "accepted, fsync, 64 connections: group (aim 16)",
            "records",
            group,
        );
        bench.add(
            "limit: appends of such a group, fdatasync each",
            "groups/s",
            appends,
        );
        bench.add(
            "accepted, fsync, 64 / that limit",
            "ratio",
            synced / (appends * group),
        );
    }
}

/// Batches on one connection, beside what the same lines take to be parsed and appended, a sync for each group.
pub async fn batches(bench: &mut Bench) {
    let server = paused(bench, "fsync").await;
    let mut client = server.client().await;
    for _ in 0..bench.settings.runs {
        let before = server.journal().await;
        let started = Instant::now();
        let mut accepted = 0;
        while started.elapsed() < bench.run() {
            load::batch(&mut client, BATCH, PAYLOAD).await;
            accepted += BATCH;
        }
        let rate = accepted as f64 / started.elapsed().as_secs_f64();
        let journal = server.journal().await.since(before);
        server.settle().await;
        let group = journal.records / journal.groups;
        let limit = parsed_and_appended(&server, group as usize, bench.run() / 2);
        bench.add(
            "accepted, fsync, NDJSON on 1 connection (aim 100,000)",
            "events/s",
            rate,
        );
        bench.add("accepted, fsync, NDJSON: group", "records", group);
        bench.add(
            "limit: the same lines parsed, appended, fdatasync a group",
            "events/s",
            limit,
        );
        bench.add(
            "accepted, fsync, NDJSON / that limit (aim 0.5)",
            "ratio",
            rate / limit,
        );
    }
}

/// A line of a batch, as far as it must be understood.
#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

/// Lines a second that can be parsed, and their types and payloads appended with an `fdatasync` after each group.
fn parsed_and_appended(server: &Server, group: usize, run: Duration) -> f64 {
    let line = load::event(PAYLOAD) + "\n";
    let batch = line.repeat(group.max(1));
    let mut appender = Appender::new(server.dir(), 0);
    let (started, mut lines) = (Instant::now(), 0.0);
    while started.elapsed() < run {
        let mut bytes = Vec::with_capacity(batch.len());
        for line in batch.lines() {
            let line: Line<'_> = serde_json::from_str(line).unwrap();
            bytes.extend_from_slice(line.event_type.as_bytes());
            bytes.extend_from_slice(line.data.get().as_bytes());
            lines += 1.0;
        }
        appender.append_bytes(&bytes);
    }
    lines / started.elapsed().as_secs_f64()
}

async fn paused(bench: &Bench, durability: &str) -> Server {
    let server = Server::start(&bench.settings, durability).await;
    let endpoint = server.endpoint("http://127.0.0.1:9/", 1).await;
    let pause = format!("{endpoint}/pause");
    server.client().await.command(&pause, &json!({})).await;
    server
}
