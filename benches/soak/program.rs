//! Four endpoints get every event: one that is well, one that is down every other while, one that is slow, and one that
//! is paused and enabled. Every second is looked at what could grow; in the end everything has to have come.

use std::{
    collections::HashMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use serde_json::json;

use super::support::{
    Bench, Measuring,
    lags::Arrival,
    load::{self, Steady},
    proc,
    receiver::LAGS,
    report::quantile,
    server::Server,
};

const PAYLOAD: usize = 1024;
/// Which receiver does what.
const WELL: usize = 0;
const DOWN_AT_TIMES: usize = 1;
const SLOW: usize = 2;
const PAUSED_AT_TIMES: usize = 3;
/// What happens at times changes so often.
const SPELL: u64 = 5;
/// How long nothing may come while something is missing.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// What came at each receiver, and how often.
type Came = [HashMap<u64, u32>; LAGS];

pub fn measure(bench: &mut Bench) -> Measuring<'_> {
    Box::pin(async {
        let (server, endpoints) = start(bench).await;
        let mut came = Came::default();
        let run = bench.settings.run(60.0);
        let load = Steady {
            kind: "bench.run",
            per_second: bench.settings.rate,
            bytes: PAYLOAD,
            first: 0,
        };
        let receiver = bench.receiver.clone();
        let posting = load::steady(&server, &receiver, load, run);
        let looking = look(bench, &server, &endpoints, run, &mut came);
        let (sent, rows) = tokio::join!(posting, looking);
        let rows: Vec<Row> = rows;
        figures(bench, &rows);
        well_again(bench, &server, &endpoints).await;
        finish(bench, sent, &mut came).await;
        let reclaimed = server.metric("posthaste_journal_reclaimed_segments_total").await;
        bench.add("segments reclaimed", "segments", reclaimed);
        bench.add("events handed over", "events", sent as f64);
    })
}

async fn start(bench: &Bench) -> (Server, Vec<String>) {
    // So short that a minute's run sees space given back.
    let environment = [
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "1MiB"),
        ("POSTHASTE_STORAGE__RETENTION", "10s"),
        ("POSTHASTE_STORAGE__ATTEMPT_RETENTION", "10s"),
        ("POSTHASTE_STORAGE__IDEMPOTENCY_WINDOW", "1m"),
    ];
    let environment = environment.map(|(name, value)| (name, value.to_owned()));
    let server = Server::start_with(&bench.settings, "fsync", environment.to_vec()).await;
    let mut endpoints = Vec::new();
    for place in 0..LAGS {
        let document = json!({
            "url": bench.url(place, &format!("/lags/{place}")), "events": ["bench.run"], "disable_on": "never",
            "retry": {"retries": 1000, "delay": "500ms"},
        });
        let endpoint = server.client().await.command("/v1/endpoints", &document).await;
        endpoints.push(format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap()));
    }
    (server, endpoints)
}

struct Row {
    at: f64,
    memory: f64,
    own: f64,
    descriptors: f64,
    waiting: f64,
    lag_p99: f64,
}

async fn look(
    bench: &Bench,
    server: &Server,
    endpoints: &[String],
    run: Duration,
    came: &mut Came,
) -> Vec<Row> {
    let (started, mut rows) = (Instant::now(), Vec::new());
    let mut client = server.client().await;
    let mut ticks = tokio::time::interval(SECOND);
    ticks.tick().await;
    for second in 1.. {
        ticks.tick().await;
        let is_bad = (second / SPELL) % 2 == 1;
        if second % SPELL == 0 {
            bench.receiver.down[DOWN_AT_TIMES].store(is_bad, Relaxed);
            let verb = if is_bad { "pause" } else { "enable" };
            let path = format!("{}/{verb}", endpoints[PAUSED_AT_TIMES]);
            client.command(&path, &json!({})).await;
        }
        let mut lags = note(bench, came);
        let waiting = &server.status().await["deliveries"];
        let waiting = ["scheduled", "held", "in_flight"].map(|state| waiting[state].as_f64().unwrap_or(0.0));
        lags.sort_by(f64::total_cmp);
        rows.push(Row {
            at: started.elapsed().as_secs_f64(),
            memory: server.mebibytes("VmRSS"),
            own: server.mebibytes("RssAnon"),
            descriptors: proc::descriptors(server.pid()) as f64,
            waiting: waiting.iter().sum(),
            lag_p99: if lags.is_empty() {
                f64::NAN
            } else {
                quantile(&lags, 0.99)
            },
        });
        if started.elapsed() >= run {
            break;
        }
    }
    rows
}

/// Takes over what has come; answers the lags at the endpoint that is well.
fn note(bench: &Bench, came: &mut Came) -> Vec<f64> {
    let mut lags = Vec::new();
    for (place, came) in came.iter_mut().enumerate() {
        let arrivals = bench.receiver.lags[place].take();
        for arrival in &arrivals {
            *came.entry(arrival.number).or_default() += 1;
        }
        if place == WELL {
            lags = arrivals.iter().map(Arrival::lag_millis).collect();
        }
    }
    lags
}

fn figures(bench: &mut Bench, rows: &[Row]) {
    let late = &rows[rows.len() / 2..];
    let slope = |of: fn(&Row) -> f64| {
        let points = late.iter().map(|row| (row.at / 60.0, of(row)));
        slope(&points.filter(|(_, value)| value.is_finite()).collect::<Vec<_>>())
    };
    bench.add(
        "second half: memory grows by",
        "KiB/min",
        slope(|row| row.memory) * 1024.0,
    );
    bench.add(
        "second half: its own memory grows by",
        "KiB/min",
        slope(|row| row.own) * 1024.0,
    );
    bench.add(
        "second half: lag p99 grows by",
        "ms/min",
        slope(|row| row.lag_p99),
    );
    bench.add(
        "second half: descriptors grow by",
        "1/min",
        slope(|row| row.descriptors),
    );
    let most = |of: fn(&Row) -> f64| rows.iter().map(of).fold(0.0, f64::max);
    bench.add("at most: memory", "MiB", most(|row| row.memory));
    bench.add("at most: descriptors", "descriptors", most(|row| row.descriptors));
    bench.add(
        "at most: deliveries that wait",
        "deliveries",
        most(|row| row.waiting),
    );
    let mut lags: Vec<f64> = rows
        .iter()
        .map(|row| row.lag_p99)
        .filter(|lag| lag.is_finite())
        .collect();
    lags.sort_by(f64::total_cmp);
    if !lags.is_empty() {
        bench.add("lag p99 of a second: median", "ms", quantile(&lags, 0.5));
        bench.add("lag p99 of a second: greatest", "ms", quantile(&lags, 1.0));
    }
    let row = |row: &Row| {
        vec![
            row.at,
            row.memory,
            row.own,
            row.descriptors,
            row.waiting,
            row.lag_p99,
        ]
    };
    let columns = [
        "s",
        "memory MiB",
        "own MiB",
        "descriptors",
        "deliveries that wait",
        "lag p99 ms",
    ];
    bench
        .report
        .add_series("every second", &columns, rows.iter().map(row).collect());
}

/// Least squares: what the second grows by as the first grows by one.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if square == 0.0 { 0.0 } else { both / square }
}

async fn well_again(bench: &Bench, server: &Server, endpoints: &[String]) {
    bench.receiver.down[DOWN_AT_TIMES].store(false, Relaxed);
    let path = format!("{}/enable", endpoints[PAUSED_AT_TIMES]);
    server.client().await.command(&path, &json!({})).await;
}

/// Waits for what is missing, and counts.
async fn finish(bench: &mut Bench, sent: u64, came: &mut Came) {
    let (mut since, mut seen) = (Instant::now(), 0);
    loop {
        note(bench, came);
        let there: usize = came.iter().map(HashMap::len).sum();
        if there as u64 == sent * LAGS as u64 || since.elapsed() > PATIENCE {
            break;
        }
        if there > seen {
            (since, seen) = (Instant::now(), there);
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    let names = [
        (WELL, "well"),
        (DOWN_AT_TIMES, "down at times"),
        (SLOW, "slow"),
        (PAUSED_AT_TIMES, "paused at times"),
    ];
    for (place, name) in names {
        let twice: u32 = came[place].values().map(|times| times - 1).sum();
        bench.add(
            &format!("{name}: lost"),
            "deliveries",
            (sent - came[place].len() as u64) as f64,
        );
        bench.add(&format!("{name}: came again"), "deliveries", f64::from(twice));
    }
    let refused = bench.receiver.refused.load(Relaxed);
    bench.add("answered with 503", "requests", refused as f64);
}
