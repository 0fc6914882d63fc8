//! What a run is made of, from the environment.

use std::{env, path::PathBuf, time::Duration};

/// How the bench is to run.
pub struct Settings {
    /// Runs of each measurement.
    pub runs: usize,
    /// How long one run takes, about.
    pub run: Duration,
    /// Where the data folders are made: on a disk, since a sync of memory costs nothing.
    pub dir: PathBuf,
    /// The server to measure: the one that was built with the bench, unless another is named.
    pub server: PathBuf,
    /// Where the JSON document goes; stdout without it.
    pub json: Option<PathBuf>,
    /// Only the groups whose names contain one of these; all when empty.
    pub only: Vec<String>,
}

impl Settings {
    /// Reads `POSTHASTE_BENCH_{RUNS,SECONDS,DIR,SERVER,JSON}`, and group names from the command line.
    pub fn from_environment() -> Self {
        let seconds: f64 = parsed("POSTHASTE_BENCH_SECONDS").unwrap_or(2.0);
        let dir = env::var_os("POSTHASTE_BENCH_DIR").map(PathBuf::from);
        Self {
            runs: parsed("POSTHASTE_BENCH_RUNS").unwrap_or(5).max(1),
            run: Duration::from_secs_f64(seconds.clamp(0.1, 600.0)),
            dir: dir.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
            server: env::var_os("POSTHASTE_BENCH_SERVER")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_posthaste")), PathBuf::from),
            json: env::var_os("POSTHASTE_BENCH_JSON").map(PathBuf::from),
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
