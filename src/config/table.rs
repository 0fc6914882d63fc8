//! The one list of keys. Everything that shows, reads or explains a key comes from here.
//!
//! An entry is `name: Type = default, low..=high;` under its explanation. Defaults and bounds are written as
//! a value of the environment is. `<data>` at the start of a path stands for `storage.data`.

use std::path::PathBuf;

use ipnet::IpNet;

use super::{
    host_name::HostName,
    network::Listen,
    raw::{Raw, Setting, Wrong},
    size::ByteSize,
    values::{Directives, Durability, Indexes, LogFormat, Mode, UriReference},
};
use crate::domain::{duration::Span, profile::Profiles, proxy::ProxyUrl};

/// What is known about one key.
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub default: &'static str,
    /// The least and the greatest value.
    pub range: Option<(&'static str, &'static str)>,
    /// Lines of explanation.
    pub docs: &'static [&'static str],
    /// How a value is written: completes "must be …".
    pub form: &'static str,
    /// The value as TOML, if it holds.
    pub normal: fn(&Key, &Raw) -> Result<String, Wrong>,
    /// The effective value as TOML.
    pub show: fn(&Config) -> String,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets this key.
    pub fn variable(&self) -> String {
        format!("POSTHASTE_{}__{}", self.section, self.name).to_ascii_uppercase()
    }
}

/// The values that a configuration is made of; the implementor knows which value is in force for which key.
pub(super) trait Source {
    fn take<T: Setting>(&mut self, section: &'static str, name: &'static str) -> Option<T>;
}

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $group:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $value:ty = $default:literal $(, $low:literal ..= $high:literal)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $group {
                $($(#[doc = $doc])+ pub $name: $value,)+
            }
        )+

        /// The effective configuration.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $group,)+
            /// Development: loopback and private networks may be sent to. A flag only; no file turns it on.
            pub dev: bool,
            /// What endpoints may name as their profile: those built in, and the file's own.
            pub profiles: Profiles,
        }

        impl Config {
            /// Builds the configuration out of `source`; none if a value does not hold.
            pub(super) fn build(source: &mut impl Source, dev: bool) -> Option<Self> {
                Some(Self {
                    $($section: $group {
                        $($name: source.take::<$value>(stringify!($section), stringify!($name))?,)+
                    },)+
                    dev,
                    profiles: Profiles::default(),
                })
            }
        }

        /// The sections, each with its explanation.
        pub const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($section_doc),+])),+];

        /// Every key there is, section by section.
        pub static KEYS: &[Key] = &[$($(
            Key {
                section: stringify!($section),
                name: stringify!($name),
                default: $default,
                range: settings!(@range $($low, $high)?),
                docs: &[$($doc),+],
                form: <$value as Setting>::FORM,
                normal: normal::<$value>,
                show: |config| config.$section.$name.write(),
            }
        ),+),+];
    };
    (@range) => { None };
    (@range $low:literal, $high:literal) => { Some(($low, $high)) };
}

settings! {
    /// Where events are kept, and how safely.
    storage: Storage {
        /// The directory that holds everything: journal, store, lock, socket and key. One server owns it.
        data: PathBuf = "./posthaste-data";
        /// What an acknowledgement survives. "fsync": a power cut, for one sync of the disk per group of
        /// events. "os": a crash of the server only; faster on slow disks, and a power cut loses the last
        /// seconds.
        durability: Durability = "fsync";
        /// Free space below which events are refused with 507, so that deliveries can still be settled.
        min_free_bytes: ByteSize = "256MiB", "0B"..="1TiB";
        /// Size at which a new journal segment is begun. The newest segment is read whole at
        /// every start; larger ones make fewer files.
        segment_bytes: ByteSize = "64MiB", "64KiB"..="1GiB";
        /// Cache of the store. It takes about twice this in memory.
        store_cache_bytes: ByteSize = "16MiB", "1MiB"..="64GiB";
        /// Memory in which changes to the store gather before they are written to it; up to twice as much while they
        /// are. More writes less; after a crash as much is read from the journal again.
        store_buffer_bytes: ByteSize = "16MiB", "16KiB"..="16GiB";
        /// Size from which the store is written afresh, beside the one that serves, when it has become three times as
        /// large as it was the last time: the database gives no space back by itself.
        store_rewrite_bytes: ByteSize = "64MiB", "1MiB"..="1TiB";
        /// Which indexes are kept for lists. "all": one for each filter, for some 40 bytes of the store more for each
        /// event with a delivery and an attempt, and 30 for each attribute. "essential", for small devices: lists by
        /// endpoint, state, outcome, tenant, type, attribute or idempotency key look through all rows, so that they take
        /// longer, and pages may be short; and no rollups are kept. A store with other indexes is made afresh at the start.
        indexes: Indexes = "all";
        /// How much is kept of each attempt for GET /v1/attempts/{id}: so many bytes of headers, those of the request and of
        /// the answer together, and twice as many of the beginning of the answer's body, 4KiB at the most. The rest is cut.
        /// The URL, the TLS and the times take some 110 bytes beside. "0B" keeps none of this, and no beginning of a body.
        attempt_detail_bytes: ByteSize = "2KiB", "0B"..="16KiB";
        /// How long events are kept, with their deliveries and attempts, once all their deliveries have ended; and
        /// how long a delivery is held for an endpoint that may not be sent to before it ends as expired. What an
        /// active endpoint still has to get is kept until it has it.
        retention: Span = "30d", "1s"..="3650d";
        /// How long attempts are kept, and at most as long as events.
        attempt_retention: Span = "30d", "1s"..="3650d";
        /// How long the audit log remembers who has changed what.
        audit_retention: Span = "365d", "1s"..="36500d";
        /// How long rollups (`GET /v1/rollups`) are kept: by the minute for up to 48 hours, then by the hour. They outlive the
        /// events and attempts that they count. storage.indexes = "essential" keeps none.
        rollup_retention: Span = "30d", "1h"..="3650d";
        /// Size of the journal past which the oldest events whose deliveries have ended go before their time; 0B
        /// for none. What is not delivered stays, and so does what an idempotency key stands for.
        max_journal_bytes: ByteSize = "8GiB", "0B"..="1024TiB";
        /// Size of the events that deliveries are held for, past which the oldest of these deliveries end as
        /// expired before their time; 0B for none.
        max_held_bytes: ByteSize = "4GiB", "0B"..="1024TiB";
        /// How long an idempotency key is remembered; the same key later is a new event.
        idempotency_window: Span = "24h", "1m"..="30d";
        /// The key that seals secrets at rest; made at the first start, readable by its owner only. Put it
        /// outside the data directory if backups of that should not be able to open the secrets.
        key_file: PathBuf = "<data>/key";
    }

    /// How programs reach the server.
    api: Api {
        /// The unix socket. Who can open it needs no key.
        socket: PathBuf = "<data>/posthaste.sock";
        /// The mode of the socket's file: its owner and group, by default.
        socket_mode: Mode = "0660";
        /// The address on TCP, where a key is always needed; "off" for none.
        listen: Listen = "127.0.0.1:8787";
        /// Connections at once, on the socket and on TCP each; more wait to be accepted. On TCP, idle connections that
        /// have shown no key are closed for those that wait. Fewer, if the limit on file descriptors does not allow so many.
        max_connections: u32 = "1024", "1"..="65536";
        /// Time for a request's head to arrive, so that a slow sender cannot hold a connection.
        header_timeout: Span = "10s", "100ms"..="5m";
        /// Time for a request's body to arrive. A batch that streams for longer should be sent in parts.
        body_timeout: Span = "60s", "100ms"..="1h";
    }

    /// How events leave.
    delivery: Delivery {
        /// Networks that may be sent to although they are private, loopback or otherwise special. Empty:
        /// none, so that an endpoint's URL cannot be used to reach what only this machine can reach.
        allow_networks: Vec<IpNet> = "";
        /// Networks that may not be sent to although they are public.
        deny_networks: Vec<IpNet> = "";
        /// Refuse endpoints with http URLs.
        require_https: bool = "false";
        /// Attempts at once to one endpoint that sets no number of its own.
        concurrency: u16 = "8", "1"..="1024";
        /// Time for a whole attempt, from looking up the name to the end of the answer, unless the endpoint
        /// sets its own.
        timeout: Span = "15s", "100ms"..="10m";
        /// Time for the connection, of that.
        connect_timeout: Span = "5s", "10ms"..="1m";
        /// How long a connection to a receiver carries requests, and its TLS session is resumed. Then the next
        /// request makes a new connection, which looks the name up and has the receiver show its certificate: a
        /// changed address or certificate is noticed within this time, or twice this time.
        max_connection_age: Span = "45s", "1s"..="1d";
        /// Attempts at once to all endpoints together. Each takes up to four file descriptors, and up to 64 KiB of
        /// limits.memory beside its event and its body. Fewer, if the limit on file descriptors does not allow so
        /// many. A tenant may use seven for each one that is free; a quarter as many again may wait for the rest
        /// of an answer whose status is known.
        max_in_flight: u32 = "512", "1"..="65536";
        /// Transient failures in a row after which an endpoint gets one probe at a time.
        breaker_after: u32 = "5", "1"..="1000";
        /// Deliveries to an active endpoint that are due for longer than this are told of: by the event
        /// endpoint.overdue, in metrics and in the status.
        overdue_after: Span = "5m", "1s"..="30d";
        /// Certificates to trust beside the system's, a PEM file; "" for none.
        ca_file: Option<PathBuf> = "";
        /// Endpoints to apply at every start, a file as `posthaste apply` takes it; "" for none. Endpoints that it
        /// does not name are left alone.
        endpoints_file: Option<PathBuf> = "";
        /// The `source` of CloudEvents whose event has no attribute of that name.
        cloudevents_source: UriReference = "/posthaste";
        /// The HTTP proxy that deliveries go through unless their endpoint names another one, or "none". It may stand
        /// anywhere: allow_networks does not apply to it. The variables HTTP_PROXY and HTTPS_PROXY are not read.
        proxy: Option<ProxyUrl> = "";
        /// The name by which receivers with the cloudevents handshake grant this server to send to them; "" for
        /// the machine's host name.
        origin: HostName = "";
        /// Time that attempts under way are given when the server stops; what is left is retried after the
        /// next start.
        shutdown_grace: Span = "10s", "0s"..="10m";
    }

    /// What is too much.
    limits: Limits {
        /// One event's whole document, as it is handed over; more is refused with 413.
        payload: ByteSize = "256KiB", "1KiB"..="8MiB";
        /// Lines of one batch.
        batch_lines: u32 = "10000", "1"..="1000000";
        /// Bytes of one batch. Batches are read as they come, not held whole.
        batch_bytes: ByteSize = "64MiB", "1KiB"..="1GiB";
        /// Endpoints in all.
        endpoints: u32 = "10000", "1"..="1000000";
        /// Memory for what others can make large: requests and answers that are in flight, in both directions,
        /// and the endpoints, which may take half of it. A tenant may use seven times as much as is left; what is
        /// more waits, or is answered 429. "0B": an eighth of the machine's memory, or of what its control group
        /// allows, between 16MiB and 128MiB, or more with a larger delivery.max_in_flight.
        memory: ByteSize = "0B", "0B"..="1TiB";
    }

    /// What the server says on stderr.
    log: Log {
        /// off, error, warn, info, debug or trace; or directives by module, "info,posthaste::sender=debug".
        level: Directives = "info";
        /// "text" for people, "json" for programs.
        format: LogFormat = "text";
    }
}

fn normal<T: Setting>(key: &Key, raw: &Raw) -> Result<String, Wrong> {
    let value = match (T::read(raw), key.range) {
        (Err(Wrong::Range), Some((low, high))) => return Err(out_of_range(low, high, raw)),
        (value, _) => value?,
    };
    let Some((low, high)) = key.range else {
        return Ok(value.write());
    };
    let bound = |text: &str| T::read(&Raw::Untyped(text.to_owned()));
    if value < bound(low)? || value > bound(high)? {
        return Err(out_of_range(low, high, raw));
    }
    Ok(value.write())
}

fn out_of_range(low: &str, high: &str, raw: &Raw) -> Wrong {
    Wrong::Detail(format!("must be between {low} and {high}, not {raw}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_bound_holds() {
        for key in KEYS {
            let texts = key
                .range
                .map_or(vec![key.default], |(low, high)| vec![key.default, low, high]);
            for text in texts {
                let normal = (key.normal)(key, &Raw::Untyped(text.to_owned()));
                assert!(normal.is_ok(), "{} = {text}: {normal:?}", key.path());
            }
        }
    }

    #[test]
    fn numbers_sizes_and_durations_have_bounds() {
        for key in KEYS {
            let bounded = [u32::FORM, u16::FORM, ByteSize::FORM, Span::FORM].contains(&key.form);
            assert_eq!(key.range.is_some(), bounded, "{}", key.path());
        }
    }
}
