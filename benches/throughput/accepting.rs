//! How fast events are accepted, beside bare appends of the same groups.
//!
//! Every event goes to one paused endpoint, so that it has its fan-out and its rows, and nothing is delivered.

use std::time::Instant;

use serde_json::json;

use crate::{
    Bench,
    limits::Appender,
    load::{self, BATCH},
    server::Server,
};

const PAYLOAD: usize = 256;

pub async fn single(bench: &mut Bench) {
    let fsync = paused(bench, "fsync").await;
    let os = paused(bench, "os").await;
    let run = bench.settings.run;
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
            "accepted: fsync / os, 64 connections (aim 0.6)",
            "ratio",
            synced / written,
        );
        bench.add("accepted, fsync, 64 connections: group", "records", group);
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

pub async fn batches(bench: &mut Bench) {
    let server = paused(bench, "fsync").await;
    let mut client = server.client().await;
    for _ in 0..bench.settings.runs {
        let started = Instant::now();
        let mut accepted = 0;
        while started.elapsed() < bench.settings.run {
            load::batch(&mut client, BATCH, PAYLOAD).await;
            accepted += BATCH;
        }
        let rate = accepted as f64 / started.elapsed().as_secs_f64();
        bench.add("accepted, fsync, NDJSON on 1 connection", "events/s", rate);
        server.settle().await;
    }
}

async fn paused(bench: &Bench, durability: &str) -> Server {
    let server = Server::start(&bench.settings, durability).await;
    let endpoint = server.endpoint("http://127.0.0.1:9/", 1).await;
    let pause = format!("{endpoint}/pause");
    server.client().await.command(&pause, &json!({})).await;
    server
}
