//! How fast deliveries go out, beside a bare client that sends the same requests to the same receivers.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;

use crate::support::{
    Bench, SETTLE,
    limits::{Copy, bare_client},
    load::{self, BATCH},
    proc,
    server::Server,
};

const PAYLOAD: usize = 256;
/// Deliveries of a backlog for each second that a run may take.
const BACKLOG_PER_SECOND: f64 = 6000.0;
/// Deliveries that may be on their way in a live run.
pub const OUTSTANDING: usize = 512;

/// Endpoints, each a receiver of its own, that all want every event.
pub struct Case {
    name: String,
    concurrency: usize,
    pub server: Server,
    endpoints: Vec<String>,
    receivers: Vec<SocketAddr>,
}

impl Case {
    pub async fn new(bench: &Bench, endpoints: usize, concurrency: usize) -> Self {
        let server = Server::start(&bench.settings, "fsync").await;
        let receivers = bench.addresses[..endpoints].to_vec();
        let mut paths = Vec::new();
        for receiver in &receivers {
            paths.push(
                server
                    .endpoint(&format!("http://{receiver}/hook"), concurrency)
                    .await,
            );
        }
        let plural = if endpoints == 1 { "" } else { "s" };
        Self {
            name: format!("{endpoints} endpoint{plural} of concurrency {concurrency}"),
            concurrency,
            server,
            endpoints: paths,
            receivers,
        }
    }

    async fn command_all(&self, verb: &str) {
        let mut client = self.server.client().await;
        for path in &self.endpoints {
            client.command(&format!("{path}/{verb}"), &json!({})).await;
        }
    }
}

/// A backlog is enqueued while the endpoints are paused, then released.
pub async fn backlog(bench: &mut Bench, endpoints: usize, concurrency: usize) {
    let case = Case::new(bench, endpoints, concurrency).await;
    let wanted = bench.run().as_secs_f64() * BACKLOG_PER_SECOND / endpoints as f64;
    let events = (wanted as usize).next_multiple_of(200);
    let deliveries = (events * endpoints) as u64;
    for _ in 0..bench.settings.runs {
        case.command_all("pause").await;
        let mut client = case.server.client().await;
        for start in (0..events).step_by(BATCH) {
            load::batch(&mut client, BATCH.min(events - start), PAYLOAD).await;
        }
        case.server.settle().await;
        bench.receiver.reset();
        let cpu = proc::cpu_seconds(case.server.pid());
        case.command_all("enable").await;
        bench.receiver.wait(deliveries).await;
        let rate = bench.receiver.rate();
        tokio::time::sleep(SETTLE).await;
        let cpu = (proc::cpu_seconds(case.server.pid()) - cpu) / deliveries as f64;
        bench.add(&format!("delivered, backlog, {}", case.name), "1/s", rate);
        beside_bare(bench, &case, "backlog", rate, cpu).await;
    }
    let name = format!("memory after {}", case.name);
    bench.add(&name, "MiB", case.server.mebibytes("VmRSS"));
}

/// Events come in as fast as deliveries go out.
pub async fn live(bench: &mut Bench, endpoints: usize, concurrency: usize) {
    let case = Case::new(bench, endpoints, concurrency).await;
    let fan_out = u32::try_from(endpoints).unwrap();
    for _ in 0..bench.settings.runs {
        bench.receiver.reset();
        let cpu = proc::cpu_seconds(case.server.pid());
        let run = bench.run();
        let (server, receiver) = (&case.server, &bench.receiver);
        let events = load::enqueue_as_delivered(server, receiver, PAYLOAD, fan_out, OUTSTANDING, run).await;
        let deliveries = events * u64::from(fan_out);
        bench.receiver.wait(deliveries).await;
        let rate = bench.receiver.rate();
        tokio::time::sleep(SETTLE).await;
        let cpu = (proc::cpu_seconds(case.server.pid()) - cpu) / deliveries as f64;
        bench.add(
            &format!("accepted and delivered, live, {}", case.name),
            "1/s",
            rate,
        );
        beside_bare(bench, &case, "live", rate, cpu).await;
    }
}

async fn beside_bare(bench: &mut Bench, case: &Case, kind: &str, rate: f64, cpu: f64) {
    let copy = Copy::new(bench.receiver.sample());
    let run = bench.run().min(Duration::from_secs(1));
    let bare = bare_client(&case.receivers, case.concurrency, &copy, run).await;
    let name = &case.name;
    bench.add(&format!("limit: bare client, {kind}, {name}"), "1/s", bare.rate);
    bench.add(
        &format!("{kind}, {name} / that limit (aim 0.6)"),
        "ratio",
        rate / bare.rate,
    );
    bench.add(&format!("CPU for 10,000, {kind}, {name}"), "s", cpu * 1e4);
    bench.add(
        &format!("CPU for 10,000, bare client, {kind}, {name}"),
        "s",
        bare.cpu * 1e4,
    );
    bench.add(
        &format!("CPU, {kind}, {name} / the bare client's (aim 2)"),
        "ratio",
        cpu / bare.cpu,
    );
}
