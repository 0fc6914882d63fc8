//! Two parts: `queue`, a deep queue over endpoints that are down, and `idle`, endpoints that have nothing to do.

use serde_json::json;

use super::support::{Bench, Measuring, SETTLE, fill, server::Server};

const PAYLOAD: usize = 256;
/// Shares of the depth at which is measured.
const STEPS: [(u64, &str); 3] = [(10, "a tenth"), (2, "half"), (1, "all")];
/// Endpoints of one event that goes to idle ones.
const WIDTH: u64 = 1000;

pub fn measure(bench: &mut Bench) -> Measuring<'_> {
    Box::pin(async {
        for _ in 0..bench.settings.runs {
            if bench.settings.wants("queue") {
                queue(bench).await;
            }
            if bench.settings.wants("idle") {
                idle(bench).await;
            }
        }
    })
}

async fn queue(bench: &mut Bench) {
    let settings = bench.settings.clone();
    let server = Server::start_with(&settings, "fsync", fill::environment(&settings)).await;
    let created = fill::down(&server, &settings, &bench.url(0, "/down")).await;
    bench.add("endpoints created", "1/s", created);
    memory(bench, &server, "queue: empty").await;
    let depth = settings.depth(1_000_000);
    let (mut queued, mut own) = (0, Vec::new());
    for (share, name) in STEPS {
        let wanted = depth / share;
        let rate = fill::deliveries(&server, &settings, wanted - queued, PAYLOAD).await;
        queued = wanted;
        bench.add(&format!("queue: filling to {name}"), "events/s", rate);
        own.push(memory(bench, &server, &format!("queue: {name} of it")).await);
        for folder in ["journal", "store"] {
            let each = server.size(folder) / queued as f64;
            bench.add(&format!("queue: {name} of it, {folder}"), "bytes/delivery", each);
        }
    }
    // Between half and all, so that what fills once is not in it.
    let grown = (own[2] - own[1]) * f64::from(1 << 20) / (depth - depth / 2) as f64;
    bench.add("queue: memory of its own for each more", "bytes/delivery", grown);
    let waiting = server.status().await["deliveries"]["scheduled"].as_f64();
    bench.add(
        "queue: deliveries that wait",
        "deliveries",
        waiting.unwrap_or(f64::NAN),
    );
}

/// Notes the resident memory, and answers what of it is the process's own, in MiB.
async fn memory(bench: &mut Bench, server: &Server, name: &str) -> f64 {
    // The store hands its buffers on once a second.
    tokio::time::sleep(SETTLE * 5).await;
    bench.add(
        &format!("{name}: memory, all (aim 256)"),
        "MiB",
        server.mebibytes("VmRSS"),
    );
    let own = server.mebibytes("RssAnon");
    bench.add(&format!("{name}: memory, its own"), "MiB", own);
    own
}

/// Endpoints that each had a delivery. What the traffic itself leaves is told by a second delivery to each: nothing of
/// it is the lanes', which are there already, or are gone.
async fn idle(bench: &mut Bench) {
    let settings = bench.settings.clone();
    let server = Server::start_with(&settings, "fsync", fill::environment(&settings)).await;
    let start = memory(bench, &server, "idle: no endpoint").await;
    let url = bench.url(0, "/hook");
    let documents = (0..settings.idle)
        .map(|place| json!({"url": url, "events": [format!("idle.g{}", place / WIDTH)], "signatures": []}));
    let rate = fill::endpoints(&server, documents).await;
    bench.add("idle: endpoints created", "1/s", rate);
    server.settle().await;
    let created = memory(bench, &server, "idle: endpoints").await;
    let warm = warmed(bench, &server).await;
    once_each(bench, &server).await;
    let first = memory(bench, &server, "idle: after a delivery to each").await;
    once_each(bench, &server).await;
    let second = memory(bench, &server, "idle: after two deliveries to each").await;
    let each = f64::from(1 << 20) / settings.idle as f64;
    let figures = [
        ("the endpoint itself", created - start),
        ("after its first delivery (aim 200)", first - warm),
        ("after its second, which no lane adds to", second - first),
    ];
    for (name, mebibytes) in figures {
        bench.add(
            &format!("idle: memory of its own for each endpoint, {name}"),
            "bytes",
            mebibytes * each,
        );
    }
}

/// As many deliveries to a single endpoint, so that caches are full.
async fn warmed(bench: &mut Bench, server: &Server) -> f64 {
    let url = bench.url(1, "/hook");
    let document = json!({"url": url, "events": ["warm"], "signatures": []});
    server.client().await.command("/v1/endpoints", &document).await;
    bench.receiver.reset();
    fill::of_kind(server, "warm", bench.settings.idle, PAYLOAD).await;
    bench.receiver.wait(bench.settings.idle).await;
    server.settle().await;
    memory(bench, server, "idle: after as many deliveries to one").await
}

async fn once_each(bench: &mut Bench, server: &Server) {
    use super::support::load;
    bench.receiver.reset();
    let mut client = server.client().await;
    for group in 0..bench.settings.idle.div_ceil(WIDTH) {
        let event = load::event_of(&format!("idle.g{group}"), "", PAYLOAD);
        load::post(&mut client, event.into()).await;
    }
    bench.receiver.wait(bench.settings.idle).await;
    server.settle().await;
}
