//! What a run is made of, from the environment.

use std::{env, path::PathBuf, time::Duration};

/// How a program is to run.
#[derive(Clone)]
pub struct Settings {
    /// Runs of each measurement.
    pub runs: usize,
    /// How long one run takes, about, when it was said.
    pub seconds: Option<f64>,
    /// Deliveries of a deep queue, when it was said.
    pub depth: Option<u64>,
    /// Endpoints that a deep queue lies over.
    pub endpoints: u64,
    /// Endpoints of an event in a deep queue.
    pub fan_out: u64,
    /// Endpoints that are to lie idle.
    pub idle: u64,
    /// Events a second of a steady load.
    pub rate: f64,
    /// Where the data folders are made: on a disk, since a sync of memory costs nothing.
    pub dir: PathBuf,
    /// The server to measure: the one that was built with the bench, unless another is named.
    pub server: PathBuf,
    /// Where the JSON document goes; stdout without it.
    pub json: Option<PathBuf>,
    /// Only the groups whose names contain one of these; all when empty.
    pub only: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runs: 5,
            seconds: None,
            depth: None,
            endpoints: 1000,
            fan_out: 1,
            idle: 100_000,
            rate: 100.0,
            dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            server: PathBuf::from(env!("CARGO_BIN_EXE_posthaste")),
            json: None,
            only: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads `POSTHASTE_BENCH_*`, and group names from the command line.
    pub fn from_environment() -> Self {
        let default = Self::default();
        let path = |name: &str| env::var_os(name).map(PathBuf::from);
        Self {
            runs: parsed("POSTHASTE_BENCH_RUNS").unwrap_or(default.runs).max(1),
            seconds: parsed("POSTHASTE_BENCH_SECONDS"),
            depth: parsed("POSTHASTE_BENCH_DEPTH"),
            endpoints: parsed("POSTHASTE_BENCH_ENDPOINTS").unwrap_or(default.endpoints),
            fan_out: parsed("POSTHASTE_BENCH_FAN_OUT").unwrap_or(default.fan_out),
            idle: parsed("POSTHASTE_BENCH_IDLE").unwrap_or(default.idle),
            rate: parsed("POSTHASTE_BENCH_RATE").unwrap_or(default.rate),
            dir: path("POSTHASTE_BENCH_DIR").unwrap_or(default.dir),
            server: path("POSTHASTE_BENCH_SERVER").unwrap_or(default.server),
            json: path("POSTHASTE_BENCH_JSON"),
            // cargo adds `--bench`.
            only: env::args()
                .skip(1)
                .filter(|argument| !argument.starts_with('-'))
                .collect(),
        }
    }

    /// Whether a group of measurements was asked for.
    pub fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| group.contains(part.as_str()))
    }

    /// How long one run takes, about: `otherwise` seconds unless it was said.
    pub fn run(&self, otherwise: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(otherwise).max(0.1))
    }

    /// Deliveries of a deep queue: `otherwise` unless it was said.
    pub fn depth(&self, otherwise: u64) -> u64 {
        self.depth.unwrap_or(otherwise)
    }
}

fn parsed<T: std::str::FromStr>(name: &str) -> Option<T>
where
    T::Err: std::fmt::Debug,
{
    env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}={value}: {error:?}"))
    })
}
