//! The time from handing an event over to its arrival, at 50 events a second, beside what it is made of.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::{
    Bench,
    client::Client,
    limits::{Appender, Copy},
    load,
    report::quantile,
    server::Server,
};

const PAYLOAD: usize = 256;
const INTERVAL: Duration = Duration::from_millis(20);
/// About what the journal writes for one event.
const RECORD: usize = 512;

#[derive(Default)]
struct Samples {
    answered: Vec<f64>,
    arrived: Vec<f64>,
    bare: Vec<f64>,
    synced: Vec<f64>,
}

pub async fn measure(bench: &mut Bench) {
    let server = Server::start(&bench.settings, "fsync").await;
    server
        .endpoint(&format!("http://{}/hook", bench.addresses[0]), 8)
        .await;
    let mut client = server.client().await;
    let mut bare = Client::tcp(bench.addresses[0]).await;
    let mut appender = Appender::new(server.dir(), RECORD);
    let body = Bytes::from(load::event(PAYLOAD));
    for _ in 0..bench.settings.runs {
        let mut samples = Samples::default();
        let mut ticks = tokio::time::interval(INTERVAL);
        let started = Instant::now();
        while started.elapsed() < bench.run() {
            ticks.tick().await;
            bench.receiver.reset();
            let began = Instant::now();
            load::post(&mut client, body.clone()).await;
            samples.answered.push(millis(began.elapsed()));
            bench.receiver.wait(1).await;
            samples.arrived.push(millis(bench.receiver.last() - began));

            let copy = Copy::new(bench.receiver.sample());
            let began = Instant::now();
            bare.send(copy.request()).await;
            samples.bare.push(millis(began.elapsed()));

            let began = Instant::now();
            appender.append();
            samples.synced.push(millis(began.elapsed()));
        }
        for (share, name) in [(0.5, "p50 (aim 2)"), (0.99, "p99 (aim 10)")] {
            let of = |millis: &[f64]| {
                let mut sorted = millis.to_vec();
                sorted.sort_by(f64::total_cmp);
                quantile(&sorted, share)
            };
            let above = of(&samples.arrived) - of(&samples.bare) - of(&samples.synced);
            let name = format!("at 50/s: handed over to arrived, above round trip and fdatasync: {name}");
            bench.add(&name, "ms", above);
        }
        bench
            .report
            .add_times("at 50/s: handed over to arrived", samples.arrived);
        bench
            .report
            .add_times("at 50/s: handed over to answered", samples.answered);
        bench
            .report
            .add_times("at 50/s: bare HTTP round trip", samples.bare);
        bench
            .report
            .add_times("at 50/s: one append and fdatasync", samples.synced);
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
