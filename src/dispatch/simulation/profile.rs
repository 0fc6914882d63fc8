//! What a seed decides before anything happens: how large the world is, how fast, and what befalls it.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// What may befall a run; each seed leaves some of it out, so that the rest comes thicker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accept,
    Batch,
    Repeat,
    Manner,
    Partition,
    Clock,
    Person,
    Configure,
    Retry,
    Cancel,
    Replay,
    Stall,
    StoreFails,
    DiskFull,
    Death,
    Delete,
    Test,
}

const KINDS: [(Kind, u32); 17] = [
    (Kind::Accept, 14),
    (Kind::Batch, 4),
    (Kind::Repeat, 2),
    (Kind::Manner, 5),
    (Kind::Partition, 2),
    (Kind::Clock, 2),
    (Kind::Person, 4),
    (Kind::Configure, 3),
    (Kind::Retry, 3),
    (Kind::Cancel, 2),
    (Kind::Replay, 2),
    (Kind::Stall, 1),
    (Kind::StoreFails, 1),
    (Kind::DiskFull, 1),
    (Kind::Death, 2),
    (Kind::Delete, 1),
    (Kind::Test, 1),
];

#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub seed: u64,
    pub endpoints: usize,
    pub ops: usize,
    /// The mean time between what happens.
    pub pace: Duration,
    pub concurrency: u16,
    pub max_in_flight: usize,
    pub breaker_after: u32,
    pub grace: Duration,
    pub sync_millis: u64,
    pub apply_millis: u64,
    pub segment_bytes: u64,
    /// How long what lanes read may be on its way, and how many reads of a hundred fail.
    pub read_millis: u64,
    pub read_failures: u8,
    kinds: Vec<(Kind, u32)>,
}

impl Profile {
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kinds = KINDS
            .into_iter()
            .filter(|(kind, _)| matches!(kind, Kind::Accept | Kind::Manner) || rng.u8(..100) < 65)
            .collect();
        let pace = match rng.u8(..12) {
            0 | 1 => Duration::from_millis(40),
            2..5 => Duration::from_secs(2),
            5..8 => Duration::from_secs(60),
            8..11 => Duration::from_secs(1200),
            _ => Duration::from_secs(4 * 3600),
        };
        Self {
            seed,
            endpoints: rng.usize(1..6),
            ops: rng.usize(40..220),
            pace,
            concurrency: rng.u16(1..9),
            max_in_flight: if rng.u8(..4) == 0 { rng.usize(2..6) } else { 64 },
            breaker_after: rng.u32(2..7),
            grace: Duration::from_secs(rng.u64(..20)),
            sync_millis: [0, 2, 20, 300][rng.usize(..4)],
            apply_millis: [0, 2, 20, 300][rng.usize(..4)],
            segment_bytes: if rng.bool() { 16 * 1024 } else { 64 * 1024 * 1024 },
            read_millis: [0, 0, 2, 20, 300, 2000][rng.usize(..6)],
            read_failures: [0, 0, 0, 10][rng.usize(..4)],
            kinds,
        }
    }

    /// What happens next.
    pub fn next(&self, rng: &mut fastrand::Rng) -> Kind {
        let sum: u32 = self.kinds.iter().map(|(_, weight)| weight).sum();
        let mut choice = rng.u32(..sum);
        for (kind, weight) in &self.kinds {
            if choice < *weight {
                return *kind;
            }
            choice -= weight;
        }
        Kind::Accept
    }

    /// How long until then.
    pub fn wait(&self, rng: &mut fastrand::Rng) -> Duration {
        let mean = u64::try_from(self.pace.as_millis()).unwrap_or(u64::MAX);
        let millis = match rng.u8(..20) {
            0..4 => 0,
            4 => rng.u64(..mean * 10),
            5..9 => rng.u64(..=mean / 20),
            _ => rng.u64(..mean * 2),
        };
        Duration::from_millis(millis)
    }
}

fn span(rng: &mut fastrand::Rng, least_secs: u64, most_secs: u64) -> String {
    // Evenly over the orders of magnitude.
    let (low, high) = ((least_secs as f64).ln(), (most_secs as f64).ln());
    format!("{}ms", ((low + (high - low) * rng.f64()).exp() * 1000.0) as u64)
}

fn retry(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..4) {
        0 => json!({"retries": rng.u32(0..6), "delay": span(rng, 1, 7200)}),
        1 => {
            let delays: Vec<String> = (0..rng.usize(0..6)).map(|_| span(rng, 1, 40_000)).collect();
            json!({"delays": delays})
        }
        2 => json!({"retries": rng.u32(0..9), "base": "2s", "factor": rng.u32(1..5), "max": "6h"}),
        _ => json!({"delays": ["5s","5m","30m","2h","5h","10h","14h","20h","24h"]}),
    }
}

fn ordering(rng: &mut fastrand::Rng) -> Value {
    let mode = ["none", "none", "key", "strict"][rng.usize(..4)];
    let on_failure = ["block", "skip"][rng.usize(..2)];
    json!({"mode": mode, "on_failure": on_failure})
}

fn rate(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..4) {
        0 => json!({"per_second": 0.1 + 20.0 * rng.f64(), "burst": rng.u32(1..6)}),
        _ => Value::Null,
    }
}

/// A new endpoint's document.
pub(super) fn endpoint(rng: &mut fastrand::Rng, ordinal: usize) -> Map<String, Value> {
    let mut document = change(rng);
    document.retain(|_, value| !value.is_null());
    document.insert("url".to_owned(), json!(format!("https://e{ordinal}.test/hook")));
    let events = match rng.u8(..6) {
        0 => json!(["a.*"]),
        1 => json!(["**", "endpoint.disabled"]),
        _ => json!(["**"]),
    };
    document.insert("events".to_owned(), events);
    for (name, value) in [
        ("retry", retry(rng)),
        ("ordering", ordering(rng)),
        ("disable_after", json!(rng.u32(1..4))),
        ("failing_for", json!(["5d", "6h"][rng.usize(..2)])),
    ] {
        document.entry(name).or_insert(value);
    }
    document
}

/// What a person may change: some members, as a merge patch.
pub(super) fn change(rng: &mut fastrand::Rng) -> Map<String, Value> {
    let rules = ["endpoint_errors", "any_non_transient", "gone_only", "never"];
    let all = [
        ("retry", retry(rng)),
        ("ordering", ordering(rng)),
        ("rate", rate(rng)),
        ("concurrency", json!(rng.u16(1..9))),
        ("disable_on", json!(rules[rng.usize(..4)])),
        ("timeout", json!(span(rng, 1, 60))),
        ("retry_after_max", json!(span(rng, 10, 86_400))),
    ];
    let chosen = all.into_iter().filter(|_| rng.u8(..3) == 0);
    chosen.map(|(name, value)| (name.to_owned(), value)).collect()
}
