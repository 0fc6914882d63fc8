//! A server with a deep queue is ended and started, and asked at once for an event to its one endpoint that is up.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;

use super::support::{
    Bench, Measuring, SETTLE,
    client::{Client, JSON},
    fill, load,
    server::Server,
};

const PAYLOAD: usize = 256;
/// A rebuild may take its time.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(1);

pub fn measure(bench: &mut Bench) -> Measuring<'_> {
    Box::pin(async {
        let settings = bench.settings.clone();
        let mut server = Server::start_with(&settings, "fsync", fill::environment(&settings)).await;
        let document = json!({"url": bench.url(0, "/hook"), "events": ["bench.run"]});
        server.client().await.command("/v1/endpoints", &document).await;
        fill::down(&server, &settings, &bench.url(1, "/down")).await;
        let depth = settings.depth(1_000_000);
        fill::deliveries(&server, &settings, depth, PAYLOAD).await;
        for _ in 0..settings.runs {
            bench.add(
                "limit: starting the program for its version",
                "s",
                started(&settings.server),
            );
            server.kill();
            again(bench, &mut server, "after a kill").await;
            let stopping = server.stop().await;
            bench.add("clean stop", "s", stopping.as_secs_f64());
            again(bench, &mut server, "after a clean stop").await;
            rebuild(bench, &mut server, depth).await;
        }
    })
}

/// Starts it again, and measures until an event is accepted, until that is delivered, and until it is ready.
async fn again(bench: &mut Bench, server: &mut Server, after: &str) -> f64 {
    bench.receiver.reset();
    let started = Instant::now();
    server.start_again();
    accepted(server, started).await;
    let answered = started.elapsed();
    bench.receiver.wait(1).await;
    let delivered = bench.receiver.last() - started;
    server.wait_ready(PATIENCE).await;
    let ready = started.elapsed().as_secs_f64();
    bench.add(
        &format!("{after}: until an event is accepted (aim 1)"),
        "s",
        answered.as_secs_f64(),
    );
    bench.add(
        &format!("{after}: until the first delivery (aim 2)"),
        "s",
        delivered.as_secs_f64(),
    );
    bench.add(&format!("{after}: until it is ready"), "s", ready);
    // So that the next end finds nothing on its way.
    server.settle().await;
    tokio::time::sleep(SETTLE).await;
    ready
}

/// Hands an event over as soon as somebody takes it.
async fn accepted(server: &Server, started: Instant) {
    let event = load::event(PAYLOAD);
    while started.elapsed() < PATIENCE {
        if let Ok(mut client) = Client::unix(&server.socket()).await {
            let (status, _) = client.post("/v1/events", JSON, event.clone()).await;
            if status == StatusCode::ACCEPTED {
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nothing is accepted: {}", server.log());
}

/// Takes its store away, and has it made again from the journal.
async fn rebuild(bench: &mut Bench, server: &mut Server, depth: u64) {
    server.stop().await;
    fs::remove_dir_all(server.data().join("store")).unwrap();
    let read = reading(&server.data().join("journal"));
    let ready = again(bench, server, "rebuilding").await;
    bench.add("limit: reading the journal's files", "MiB/s", read);
    bench.add("rebuilding (aim 200,000)", "deliveries/s", depth as f64 / ready);
    bench.add(
        "rebuilding: the journal's bytes",
        "MiB/s",
        server.size("journal") / f64::from(1 << 20) / ready,
    );
}

fn reading(folder: &Path) -> f64 {
    let (started, mut bytes, mut buffer) = (Instant::now(), 0.0, vec![0; 1 << 20]);
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_file() {
            let mut file = fs::File::open(entry.path()).unwrap();
            while let read @ 1.. = file.read(&mut buffer).unwrap() {
                bytes += read as f64;
            }
        }
    }
    bytes / f64::from(1 << 20) / started.elapsed().as_secs_f64()
}

fn started(program: &Path) -> f64 {
    let started = Instant::now();
    let done = Command::new(program).arg("--version").output().unwrap();
    assert!(done.status.success());
    started.elapsed().as_secs_f64()
}
