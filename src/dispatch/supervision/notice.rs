//! What is told, as operational events. `since` is a time as people see it, `now` is engine time.

use std::collections::BTreeSet;

use serde_json::json;

use super::{assess::Trouble, vitals::Late};
use crate::{
    dispatch::notice::Notice,
    domain::{endpoint::Endpoint, operational, time::Timestamp},
};

pub(super) fn degraded(troubles: &[Trouble], now: Timestamp) -> Notice {
    let reasons: Vec<_> = troubles
        .iter()
        .map(|trouble| json!({ "reason": trouble.kind.as_str(), "text": trouble.text }))
        .collect();
    Notice::of_server(operational::SERVER_DEGRADED, now, json!({ "reasons": reasons }))
}

pub(super) fn recovered(since: Timestamp, kinds: &BTreeSet<&'static str>, now: Timestamp) -> Notice {
    let data = json!({ "since": since, "reasons": kinds });
    Notice::of_server(operational::SERVER_RECOVERED, now, data)
}

pub(super) fn overdue(endpoint: &Endpoint, late: &Late, since: Timestamp, now: Timestamp) -> Notice {
    let data = json!({ "waiting_since": since, "waits_for": late.why.as_str() });
    Notice::of_endpoint(operational::ENDPOINT_OVERDUE, endpoint, now, data)
}

pub(super) fn caught_up(endpoint: &Endpoint, since: Timestamp, now: Timestamp) -> Notice {
    let data = json!({ "waited_since": since });
    Notice::of_endpoint(operational::ENDPOINT_CAUGHT_UP, endpoint, now, data)
}
