//! SIGHUP: what of the configuration a running server reads again.
//!
//! The log's level, the certificate authorities of `delivery.ca_file` and the endpoints of `delivery.endpoints_file`
//! are taken over. Each that cannot be used is told of, and the old one stays in force. Other keys that have changed
//! are named: they need a restart.

use anyhow::Context as _;

use super::{
    args::ConfigArgs,
    serve::{Entries, apply_endpoints, endpoints_at, extra_roots},
    signals::{Noticed, Notices},
};
use crate::{
    config::{Config, KEYS, Key},
    dispatch::engine::Engine,
    sender::{Roots, Sender},
    telemetry,
};

/// The keys that are taken over while the server runs.
const RELOADED: [&str; 3] = ["log.level", "delivery.ca_file", "delivery.endpoints_file"];

/// Reads the configuration again.
pub(super) struct Reloader {
    /// Where the configuration comes from.
    pub args: ConfigArgs,
    /// What is in force.
    pub config: Config,
    pub engine: Engine,
    pub sender: Sender,
}

/// What was read.
struct Found {
    config: Config,
    roots: anyhow::Result<Roots>,
    endpoints: anyhow::Result<Option<Entries>>,
}

impl Reloader {
    /// Answers signals for as long as the server runs.
    pub async fn run(mut self, mut notices: Notices) {
        loop {
            match notices.next().await {
                Noticed::Reload => self.reload().await,
                Noticed::Ignored(signal) => {
                    tracing::info!(signal, "a signal was ignored; it means nothing here")
                }
            }
        }
    }

    async fn reload(&mut self) {
        let args = self.args.clone();
        // Files may lie on a disk that is slow.
        let found = tokio::task::spawn_blocking(move || Found::read(&args)).await;
        let found = found.context("reading failed").and_then(|found| found);
        match found {
            Ok(found) => self.take_over(found).await,
            Err(error) => {
                tracing::error!(
                    "SIGHUP: the configuration does not hold, the old one stays in force: {error:#}"
                );
            }
        }
    }

    async fn take_over(&mut self, found: Found) {
        let mut reloaded = Vec::new();
        if telemetry::set_level(&found.config.log.level) {
            reloaded.push("log.level");
        }
        match found.roots {
            Ok(roots) => {
                self.sender.trust(roots);
                reloaded.push("delivery.ca_file");
            }
            Err(error) => tracing::error!("SIGHUP: delivery.ca_file was not reloaded: {error:#}"),
        }
        match found.endpoints {
            Ok(Some(endpoints)) => {
                apply_endpoints(self.engine.clone(), endpoints).await;
                reloaded.push("delivery.endpoints_file");
            }
            Ok(None) => {}
            Err(error) => tracing::error!("SIGHUP: delivery.endpoints_file was not reloaded: {error:#}"),
        }
        tracing::info!(
            reloaded = reloaded.join(", "),
            "SIGHUP: the configuration was read again"
        );
        let waiting = needs_restart(&self.config, &found.config);
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "SIGHUP: these keys have changed and need a restart"
            );
        }
    }
}

impl Found {
    fn read(args: &ConfigArgs) -> anyhow::Result<Self> {
        let config = args.load()?.config;
        let endpoints = config.delivery.endpoints_file.as_deref();
        Ok(Self {
            roots: extra_roots(&config),
            endpoints: endpoints.map(endpoints_at).transpose().map_err(Into::into),
            config,
        })
    }
}

/// The keys, and the profiles, that differ from what is in force and cannot be taken over.
fn needs_restart(in_force: &Config, found: &Config) -> Vec<String> {
    let differs = |key: &&Key| (key.show)(in_force) != (key.show)(found);
    let keys = KEYS.iter().filter(differs).map(Key::path);
    let mut keys: Vec<_> = keys.filter(|path| !RELOADED.contains(&path.as_str())).collect();
    if in_force.profiles != found.profiles {
        keys.push("profiles".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn config(pairs: &[(&str, &str)]) -> Config {
        let pair = |&(name, value): &(&str, &str)| (name.into(), value.into());
        let environment = pairs.iter().map(pair).collect();
        let request = Request {
            environment,
            ..Request::default()
        };
        load(&request).unwrap().config
    }

    #[test]
    fn keys_that_need_a_restart_are_named_and_no_others() {
        let other = config(&[
            ("POSTHASTE_LOG__LEVEL", "debug"),
            ("POSTHASTE_DELIVERY__TIMEOUT", "7s"),
            ("POSTHASTE_API__LISTEN", "off"),
        ]);
        let named = needs_restart(&config(&[]), &other);
        assert_eq!(named, ["api.listen", "delivery.timeout"]);
        assert!(
            RELOADED
                .iter()
                .all(|path| KEYS.iter().any(|key| key.path() == *path))
        );
    }
}
