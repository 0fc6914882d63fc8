//! Combinations that cannot work.

use std::{collections::BTreeMap, path::Path};

use super::{
    problem::{Origin, Problem},
    table::Config,
};

/// The longest path of a unix socket: `sun_path` of Linux less its closing zero.
const SOCKET_PATH_BYTES: usize = 107;

const FIX: &str = ": lower the one or raise the other";

/// What is wrong between keys, each blamed on the first of them that somebody set.
pub(super) fn broken(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let blame = |keys: &[&str]| {
        let set = keys
            .iter()
            .filter_map(|key| origins.get(*key))
            .find(|origin| **origin != Origin::Default);
        set.cloned().unwrap_or(Origin::Default)
    };
    let rules = [
        times(config),
        sizes(config),
        numbers(config),
        networks(config),
        socket(&config.api.socket),
    ];
    let problem = |(keys, text): (&[&str], String)| Problem {
        origin: blame(keys),
        text,
    };
    rules.into_iter().flatten().map(problem).collect()
}

type Broken = Option<(&'static [&'static str], String)>;

fn times(config: &Config) -> Broken {
    let (whole, connect) = (config.delivery.timeout, config.delivery.connect_timeout);
    (connect > whole).then(|| {
        let keys: &[&str] = &["delivery.connect_timeout", "delivery.timeout"];
        (
            keys,
            format!("delivery.connect_timeout ({connect}) is part of delivery.timeout ({whole}){FIX}"),
        )
    })
}

fn sizes(config: &Config) -> Broken {
    let payload = config.limits.payload;
    if payload > config.storage.segment_bytes {
        let segment = config.storage.segment_bytes;
        let text = format!("limits.payload ({payload}) must fit in storage.segment_bytes ({segment}){FIX}");
        return Some((&["limits.payload", "storage.segment_bytes"], text));
    }
    (payload > config.limits.batch_bytes).then(|| {
        let keys: &[&str] = &["limits.batch_bytes", "limits.payload"];
        let batch = config.limits.batch_bytes;
        (
            keys,
            format!("limits.payload ({payload}) must fit in limits.batch_bytes ({batch}){FIX}"),
        )
    })
}

fn numbers(config: &Config) -> Broken {
    let (one, all) = (config.delivery.concurrency, config.delivery.max_in_flight);
    (u32::from(one) > all).then(|| {
        let keys: &[&str] = &["delivery.concurrency", "delivery.max_in_flight"];
        (
            keys,
            format!("delivery.concurrency ({one}) is part of delivery.max_in_flight ({all}){FIX}"),
        )
    })
}

fn networks(config: &Config) -> Broken {
    let both = config
        .delivery
        .allow_networks
        .iter()
        .find(|network| config.delivery.deny_networks.contains(network))?;
    let text = format!(
        "{both} is in delivery.allow_networks and in delivery.deny_networks: take it out of one of them"
    );
    Some((&["delivery.allow_networks", "delivery.deny_networks"], text))
}

fn socket(path: &Path) -> Broken {
    let length = path.as_os_str().len();
    (length > SOCKET_PATH_BYTES).then(|| {
        let keys: &[&str] = &["api.socket", "storage.data"];
        let text = format!(
            "api.socket is {length} bytes long, the system takes {SOCKET_PATH_BYTES}: set a shorter one"
        );
        (keys, text)
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Request, load};

    fn problem(pairs: &[(&str, &str)]) -> String {
        let environment = pairs
            .iter()
            .map(|(name, value)| (format!("POSTHASTE_{name}").into(), value.into()))
            .collect();
        let problems = load(&Request {
            environment,
            ..Request::default()
        })
        .unwrap_err();
        assert_eq!(problems.iter().count(), 1, "{problems}");
        problems.iter().next().unwrap().to_string()
    }

    #[test]
    fn what_cannot_work_together_is_refused_and_blamed_on_what_was_set() {
        let late = problem(&[("DELIVERY__TIMEOUT", "4s")]);
        assert!(
            late.starts_with("environment POSTHASTE_DELIVERY__TIMEOUT: delivery.connect_timeout (5s)"),
            "{late}"
        );
        let few = problem(&[("DELIVERY__MAX_IN_FLIGHT", "7")]);
        assert!(few.contains("delivery.concurrency (8)"), "{few}");
        let large = problem(&[("LIMITS__PAYLOAD", "1MiB"), ("STORAGE__SEGMENT_BYTES", "64KiB")]);
        assert!(
            large.starts_with("environment POSTHASTE_LIMITS__PAYLOAD"),
            "{large}"
        );
        let batch = problem(&[("LIMITS__BATCH_BYTES", "1KiB")]);
        assert!(batch.contains("limits.batch_bytes (1KiB)"), "{batch}");
        let both = "10.0.0.0/8";
        let both = problem(&[
            ("DELIVERY__ALLOW_NETWORKS", both),
            ("DELIVERY__DENY_NETWORKS", both),
        ]);
        assert!(both.contains("10.0.0.0/8"), "{both}");
        let long = problem(&[("STORAGE__DATA", &"x".repeat(95))]);
        assert!(long.contains("api.socket is 110 bytes long"), "{long}");
    }
}
