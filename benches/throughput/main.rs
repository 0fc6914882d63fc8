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

mod accepting;
mod client;
mod delivering;
mod fanout;
mod latency;
mod limits;
mod load;
mod proc;
mod receiver;
mod report;
mod server;
mod settings;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use receiver::Receiver;
use report::Report;
use server::Server;
use settings::Settings;

/// The name of the threads that make load.
const LOAD: &str = "load";
/// Until what was settled last is written and applied.
const SETTLE: Duration = Duration::from_millis(300);
/// Receivers.
const PORTS: usize = 10;

/// What every measurement needs.
struct Bench {
    settings: Settings,
    receiver: Arc<Receiver>,
    addresses: Vec<SocketAddr>,
    report: Report,
}

impl Bench {
    fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        eprintln!("{name}: {value:.3} {unit}");
        self.report.add(name, unit, value);
    }
}

fn main() {
    let receiving = runtime("receiver");
    let (receiver, addresses) = Receiver::start(receiving.handle(), PORTS);
    let mut bench = Bench {
        settings: Settings::from_environment(),
        receiver,
        addresses,
        report: Report::default(),
    };
    runtime(LOAD).block_on(async {
        // Not on the main thread: its time would not be counted.
        tokio::spawn(async move {
            measure(&mut bench).await;
            println!(
                "{} cores, shared by the server, its load and its receivers",
                report::cores()
            );
            bench.report.print(&bench.settings);
        })
        .await
        .unwrap();
    });
    receiving.shutdown_background();
}

async fn measure(bench: &mut Bench) {
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
        delivering::writing(bench).await;
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
            ("all (aim 25)", "VmRSS"),
            ("its own", "RssAnon"),
            ("of the program's file", "RssFile"),
        ] {
            let mebibytes = proc::memory(server.pid(), field) / f64::from(1 << 20);
            bench.add(&format!("memory, idle: {name}"), "MiB", mebibytes);
        }
    }
}

fn runtime(name: &str) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}
