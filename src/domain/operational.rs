//! The types of operational events: what the server tells of itself and of endpoints.
//!
//! Nobody else may send them: receivers act on them, by alarms and by calls of this API. Other names that begin with
//! `endpoint.` are free, since senders have them: Zoom's `endpoint.url_validation`, or a type of one's own.

use super::event::EventType;

pub const ENDPOINT_CAUGHT_UP: &str = "endpoint.caught_up";
pub const ENDPOINT_DELIVERIES_EXPIRED: &str = "endpoint.deliveries_expired";
pub const ENDPOINT_DISABLED: &str = "endpoint.disabled";
pub const ENDPOINT_OVERDUE: &str = "endpoint.overdue";
pub const ENDPOINT_UNVERIFIED: &str = "endpoint.unverified";
pub const SERVER_DEGRADED: &str = "server.degraded";
pub const SERVER_RECOVERED: &str = "server.recovered";

/// Those about endpoints.
pub const ABOUT_ENDPOINTS: [&str; 5] = [
    ENDPOINT_CAUGHT_UP,
    ENDPOINT_DELIVERIES_EXPIRED,
    ENDPOINT_DISABLED,
    ENDPOINT_OVERDUE,
    ENDPOINT_UNVERIFIED,
];

/// How those about the server begin. All such names are reserved, for later ones.
const ABOUT_THE_SERVER: &str = "server.";

/// What is said of an event that has such a type.
pub const RULE: &str = "is reserved: only the server sends endpoint.caught_up, endpoint.deliveries_expired, \
    endpoint.disabled, endpoint.overdue, endpoint.unverified, and every type that begins with server.; \
    choose another name";

/// Whether only the server may send events of this type.
pub fn is_reserved(event_type: &EventType) -> bool {
    let name = event_type.as_str();
    name.starts_with(ABOUT_THE_SERVER) || ABOUT_ENDPOINTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_what_is_reserved_and_nothing_else_is() {
        let is = |text: &str| is_reserved(&text.parse().unwrap());
        for name in ABOUT_ENDPOINTS {
            assert!(is(name) && RULE.contains(name), "{name}");
        }
        for name in [SERVER_DEGRADED, SERVER_RECOVERED, "server.anything.else"] {
            assert!(is(name), "{name}");
        }
        for free in [
            "endpoint.url_validation",
            "endpoint.ping",
            "endpoint.test",
            "endpoint.created",
            "endpoint.disabled.v2",
            "Endpoint.disabled",
            "server",
            "servers.added",
            "my.server.degraded",
        ] {
            assert!(!is(free), "{free}");
        }
    }
}
