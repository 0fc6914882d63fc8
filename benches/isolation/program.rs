//! A server with a healthy endpoint alone, and one whose healthy endpoint has bad company, in turn.

use serde_json::json;

use super::support::{
    Bench, Measuring, fill, hostile,
    lags::Arrival,
    load::{self, Steady},
    receiver::Receiver,
    report::quantile,
    server::Server,
    settings::Settings,
};

const PAYLOAD: usize = 256;
const PER_SECOND: f64 = 50.0;
/// What of the depth waits for the endpoint that hangs, and for the one that drips.
const SHARE: u64 = 100;

pub fn measure(bench: &mut Bench) -> Measuring<'_> {
    Box::pin(async {
        let settings = bench.settings.clone();
        let alone = with_healthy(bench, &settings).await;
        let beside = with_healthy(bench, &settings).await;
        bad_company(&beside, &settings).await;
        let mut number = 0;
        for _ in 0..settings.runs {
            let (p50, p99) = lags(bench, &alone, &mut number).await;
            let (beside_p50, beside_p99) = lags(bench, &beside, &mut number).await;
            bench.add("alone, at 50/s: p50", "ms", p50);
            bench.add("alone, at 50/s: p99", "ms", p99);
            bench.add("beside the bad, at 50/s: p50", "ms", beside_p50);
            bench.add("beside the bad, at 50/s: p99", "ms", beside_p99);
            bench.add("beside / alone: p50", "ratio", beside_p50 / p50);
            bench.add("beside / alone: p99 (aim 1.5)", "ratio", beside_p99 / p99);
            bench.add("alone: memory", "MiB", alone.mebibytes("VmRSS"));
            bench.add("beside the bad: memory", "MiB", beside.mebibytes("VmRSS"));
            let waiting = beside.status().await["deliveries"]["scheduled"].as_f64();
            bench.add(
                "beside the bad: deliveries that wait",
                "deliveries",
                waiting.unwrap(),
            );
        }
    })
}

async fn with_healthy(bench: &Bench, settings: &Settings) -> Server {
    let server = Server::start_with(settings, "fsync", fill::environment(settings)).await;
    let document = json!({"url": bench.url(0, "/lags/0"), "events": ["bench.run"]});
    server.client().await.command("/v1/endpoints", &document).await;
    server
}

async fn bad_company(server: &Server, settings: &Settings) {
    let depth = settings.depth(1_000_000);
    let bad = [
        ("deep.dead", hostile::refusing().await, depth),
        ("deep.hangs", hostile::hanging().await, depth / SHARE),
        ("deep.drips", hostile::dripping().await, depth / SHARE),
    ];
    for (kind, address, count) in bad {
        let document = json!({"url": format!("http://{address}/"), "events": [kind], "disable_on": "never"});
        server.client().await.command("/v1/endpoints", &document).await;
        fill::of_kind(server, kind, count.max(100), PAYLOAD).await;
    }
    server.settle().await;
}

/// What it takes from when an event was due to be handed over until it came: median and 99th percentile, in milliseconds.
async fn lags(bench: &Bench, server: &Server, number: &mut u64) -> (f64, f64) {
    let load = Steady {
        kind: "bench.run",
        per_second: PER_SECOND,
        bytes: PAYLOAD,
        first: *number,
    };
    bench.receiver.reset();
    let sent = load::steady(server, &bench.receiver, load, bench.settings.run(10.0)).await;
    *number += sent;
    bench.receiver.wait(sent).await;
    quantiles(&bench.receiver)
}

fn quantiles(receiver: &Receiver) -> (f64, f64) {
    let mut millis: Vec<f64> = receiver.lags[0].take().iter().map(Arrival::lag_millis).collect();
    millis.sort_by(f64::total_cmp);
    (quantile(&millis, 0.5), quantile(&millis, 0.99))
}
