//! What the real server does on this machine, beside what the machine does without it.
//!
//! `cargo bench --bench throughput [-- GROUP…]`. The server runs as a process of its own, its load and its receivers
//! in this one, all on the same cores: figures are of all of them together. Nothing here passes or fails; a limit is
//! measured beside each figure, in the same run, since machines and their moods differ.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench measures real time, collects what it sent itself, and ends with its runtime"
)]

#[allow(dead_code, reason = "what another program needs")]
#[path = "../support/mod.rs"]
mod support;

mod accepting;
mod delivering;
mod fanout;
mod latency;
mod writing;

use support::{Bench, Measuring, SETTLE, server::Server};

fn main() {
    support::main(measure);
}

fn measure(bench: &mut Bench) -> Measuring<'_> {
    Box::pin(groups(bench))
}

async fn groups(bench: &mut Bench) {
    if bench.settings.wants("idle") {
        idle(bench).await;
    }
    if bench.settings.wants("accept") {
        accepting::single(bench).await;
    }
    if bench.settings.wants("batch") {
        accepting::batches(bench).await;
    }
    if bench.settings.wants("fanout") {
        fanout::measure(bench).await;
    }
    if bench.settings.wants("backlog") {
        for (endpoints, concurrency) in [(1, 8), (1, 64), (10, 8)] {
            delivering::backlog(bench, endpoints, concurrency).await;
        }
    }
    if bench.settings.wants("live") {
        for (endpoints, concurrency) in [(1, 8), (10, 8)] {
            delivering::live(bench, endpoints, concurrency).await;
        }
    }
    if bench.settings.wants("write") {
        writing::measure(bench).await;
    }
    if bench.settings.wants("latency") {
        latency::measure(bench).await;
    }
}

/// Memory of a server that has just started and does nothing.
async fn idle(bench: &mut Bench) {
    for _ in 0..bench.settings.runs {
        let server = Server::start(&bench.settings, "fsync").await;
        tokio::time::sleep(SETTLE).await;
        for (name, field) in [
            ("all (aim 20)", "VmRSS"),
            ("its own", "RssAnon"),
            ("of the program's file", "RssFile"),
        ] {
            bench.add(&format!("memory, idle: {name}"), "MiB", server.mebibytes(field));
        }
    }
}
