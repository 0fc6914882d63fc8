//! Laying the sources over each other.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    environment, file,
    problem::{Origin, Problem, Problems},
    raw::{Raw, Setting, Wrong},
    rules,
    table::{Config, KEYS, Key, Source},
};
use crate::domain::profile::Profiles;

/// What to read. Without `Debug`: the environment may hold keys of all kinds.
#[derive(Default)]
pub struct Request {
    /// The file; else the one that `POSTHASTE_CONFIG` names; else none.
    pub file: Option<PathBuf>,
    /// The variables of the process.
    pub environment: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
    pub dev: bool,
}

/// A key set on the command line.
#[derive(Debug)]
pub struct Flag {
    /// The flag's own name, `--listen`.
    pub name: &'static str,
    pub section: &'static str,
    pub key: &'static str,
    pub value: OsString,
}

/// A configuration that holds, and where each value of it came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
}

/// The values in force and the problems found so far.
pub(super) struct Layers {
    values: BTreeMap<String, (Raw, Origin)>,
    pub(super) problems: Vec<Problem>,
    pub(super) profiles: Profiles,
}

/// Reads and checks the configuration.
///
/// # Errors
///
/// All that is wrong with it, at once.
pub fn load(request: &Request) -> Result<Loaded, Problems> {
    let mut layers = Layers::defaults();
    if let Some((path, origin)) = file_of(request) {
        file::lay(&mut layers, &path, &origin);
    }
    environment::lay(&mut layers, &request.environment);
    for flag in &request.flags {
        layers.lay_text(flag.section, flag.key, &flag.value, Origin::Flag(flag.name));
    }
    layers.finish(request.dev)
}

/// The file to read, and who named it.
fn file_of(request: &Request) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &request.file {
        return Some((path.clone(), Origin::Flag("--config")));
    }
    let named = request
        .environment
        .iter()
        .find(|(name, _)| name == environment::CONFIG);
    let (_, path) = named.filter(|(_, path)| !path.is_empty())?;
    Some((
        PathBuf::from(path),
        Origin::Environment(environment::CONFIG.to_owned()),
    ))
}

impl Layers {
    pub(super) fn defaults() -> Self {
        let value = |key: &Key| {
            (
                key.path(),
                (Raw::Untyped(key.default.to_owned()), Origin::Default),
            )
        };
        Self {
            values: KEYS.iter().map(value).collect(),
            problems: Vec::new(),
            profiles: Profiles::default(),
        }
    }

    pub(super) fn refuse(&mut self, origin: &Origin, text: impl Into<String>) {
        self.problems.push(Problem::new(origin, text));
    }

    /// Lays `raw` over what `key` had, if it holds.
    pub(super) fn lay(&mut self, key: &Key, raw: Raw, origin: Origin) {
        let path = key.path();
        match (key.normal)(key, &raw) {
            Ok(_) => {
                self.values.insert(path, (raw, origin));
            }
            Err(Wrong::Form | Wrong::Range) => {
                self.refuse(&origin, format!("{path} must be {}, not {raw}", key.form))
            }
            Err(Wrong::Detail(detail)) => self.refuse(&origin, format!("{path} {detail}")),
        }
    }

    /// Lays a text from outside a file over what the key had.
    pub(super) fn lay_text(&mut self, section: &str, name: &str, value: &OsString, origin: Origin) {
        let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
            let path = format!("{section}.{name}");
            return self.refuse(&origin, format!("{path} is not a key{}", file::hint(&path)));
        };
        match value.to_str() {
            Some(text) => self.lay(key, Raw::Untyped(text.to_owned()), origin),
            None => self.refuse(&origin, format!("{} must be valid UTF-8", key.path())),
        }
    }

    fn finish(mut self, dev: bool) -> Result<Loaded, Problems> {
        let config = Config::build(&mut self, dev);
        let mut problems = std::mem::take(&mut self.problems);
        let profiles = std::mem::take(&mut self.profiles);
        let origins: BTreeMap<_, _> = self
            .values
            .into_iter()
            .map(|(path, (_, origin))| (path, origin))
            .collect();
        let Some(mut config) = config else {
            problems.push(Problem::new(&Origin::Default, "a default does not hold"));
            return Err(Problems(problems));
        };
        config.storage.key_file = under_data(&config.storage.key_file, &config.storage.data);
        config.api.socket = under_data(&config.api.socket, &config.storage.data);
        config.profiles = profiles;
        problems.extend(rules::broken(&config, &origins));
        match Problems::collect(problems) {
            Some(problems) => Err(problems),
            None => Ok(Loaded { config, origins }),
        }
    }
}

impl Source for Layers {
    fn take<T: Setting>(&mut self, section: &'static str, name: &'static str) -> Option<T> {
        let (raw, _) = self.values.get(&format!("{section}.{name}"))?;
        T::read(raw).ok()
    }
}

/// `path` with a leading `<data>` put in.
fn under_data(path: &Path, data: &Path) -> PathBuf {
    path.strip_prefix("<data>")
        .map_or_else(|_| path.to_owned(), |rest| data.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn without_sources_the_defaults_hold() {
        let config = load(&Request::default()).unwrap().config;
        assert_eq!(config.api.socket, Path::new("./posthaste-data/posthaste.sock"));
        assert_eq!(config.limits.payload.as_bytes(), 262_144);
        assert!(config.delivery.allow_networks.is_empty() && !config.dev);
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(
            &file,
            "[delivery]\nconcurrency = 1\ntimeout = \"6s\"\nconnect_timeout = \"1s\"\n",
        )
        .unwrap();
        let flag = Flag {
            name: "--t",
            section: "delivery",
            key: "timeout",
            value: "8s".into(),
        };
        let request = Request {
            file: Some(file.clone()),
            environment: environment(&[
                ("POSTHASTE_DELIVERY__TIMEOUT", "7s"),
                ("POSTHASTE_DELIVERY__CONNECT_TIMEOUT", "2s"),
            ]),
            flags: vec![flag],
            dev: false,
        };
        let loaded = load(&request).unwrap();
        assert_eq!(loaded.config.delivery.concurrency, 1);
        assert_eq!(loaded.config.delivery.connect_timeout.to_string(), "2s");
        assert_eq!(loaded.config.delivery.timeout.to_string(), "8s");
        let origin = |path: &str| loaded.origins[path].clone();
        assert_eq!(
            origin("delivery.concurrency"),
            Origin::File {
                path: file,
                line: Some(2)
            }
        );
        assert_eq!(
            origin("delivery.connect_timeout").to_string(),
            "environment POSTHASTE_DELIVERY__CONNECT_TIMEOUT"
        );
        assert_eq!(origin("delivery.timeout"), Origin::Flag("--t"));
        assert_eq!(origin("log.level"), Origin::Default);
    }

    #[test]
    fn a_bad_value_is_a_problem_even_when_it_is_overridden() {
        let request = Request {
            environment: environment(&[("POSTHASTE_API__LISTEN", "nowhere")]),
            flags: vec![Flag {
                name: "--listen",
                section: "api",
                key: "listen",
                value: "off".into(),
            }],
            ..Request::default()
        };
        let problems = load(&request).unwrap_err();
        assert_eq!(problems.iter().count(), 1, "{problems}");
    }

    #[test]
    fn the_data_directory_stands_in_for_its_name() {
        let request = Request {
            environment: environment(&[
                ("POSTHASTE_STORAGE__DATA", "/srv/ph"),
                ("POSTHASTE_STORAGE__KEY_FILE", "<data>/../ph.key"),
                ("POSTHASTE_API__SOCKET", "/run/ph.sock"),
            ]),
            ..Request::default()
        };
        let config = load(&request).unwrap().config;
        assert_eq!(config.storage.key_file, Path::new("/srv/ph/../ph.key"));
        assert_eq!(config.api.socket, Path::new("/run/ph.sock"));
    }
}
