//! No way out at all: when nothing that is tried can even be connected to, it is our network that is down, and nobody is
//! blamed.
//!
//! Within a window, connections that fail for want of any answer to at least [`ENOUGH`] different networks, or names below
//! as many different domains that no name server can say, while nothing at all could be reached, make further such
//! failures ours. What counts is where the receivers are, not how many endpoints there are: any number of endpoints on one
//! dead host, on its neighbours, or behind one domain's dead name servers are that host's trouble, and are retried with a
//! limit. A machine without any route says so itself, and needs no such evidence (`no_route`).
//!
//! A refusal or a reset counts as reached: something answered. Loopback is no network that could be down. That an
//! endpoint's own proxy cannot be used says nothing either way, and no more does silence behind one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::outcome::{Class, Fault, Outcome, Reason},
    sender::Unreached,
};

/// Within this time everything must have failed.
const WINDOW: Duration = Duration::from_secs(60);
/// Different places that must have failed; with fewer, it may well be them.
const ENOUGH: usize = 3;
/// Places that are remembered; more say nothing new.
const REMEMBERED: usize = 64;

/// What fails together: coarse rather than fine, since an endpoint that is taken for unreachable by our fault is retried
/// for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Addresses with the same first half of an IPv4, or the same first 32 bits of an IPv6 address: what one provider has.
    Network([u8; 4]),
    /// Names that end in the same two labels, which mostly have the same name servers.
    Domain(String),
}

#[derive(Debug, Default)]
struct Outage {
    failed: HashMap<Place, Instant>,
    /// It was said that nothing can be reached.
    is_known: bool,
}

/// The one that all who send tell of what they meet.
#[derive(Debug, Default)]
pub(super) struct SharedOutage(Mutex<Outage>);

impl SharedOutage {
    /// Takes note of an outcome at the present, and gives it back as it is to be judged. `unreached` is what did not
    /// answer.
    pub fn judge(&self, outcome: Outcome, unreached: Option<&Unreached>) -> Outcome {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outage.judge(outcome, unreached, Instant::now())
    }
}

impl Outage {
    /// Takes note of an attempt's outcome, and gives it back as it is to be judged.
    fn judge(&mut self, outcome: Outcome, unreached: Option<&Unreached>, now: Instant) -> Outcome {
        if !is_unreached(&outcome) {
            if outcome.class != Class::Ours && outcome.reason != Reason::Fault(Fault::ProxyUnreachable) {
                self.reached();
            }
            return outcome;
        }
        let Some(place) = unreached.and_then(Place::of) else {
            return outcome;
        };
        self.failed
            .retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        if self.failed.len() < REMEMBERED || self.failed.contains_key(&place) {
            self.failed.insert(place, now);
        }
        // One host may fail by its address and by its name.
        let networks = self.failed.keys().filter(|place| place.is_network()).count();
        let domains = self.failed.len() - networks;
        if networks < ENOUGH && domains < ENOUGH {
            return outcome;
        }
        if !std::mem::replace(&mut self.is_known, true) {
            tracing::warn!(
                networks,
                domains,
                "no receiver can be reached; the network here is taken to be down"
            );
        }
        Outcome {
            class: Class::Ours,
            reason: Reason::Fault(Fault::NoRoute),
            suspect: false,
            ..outcome
        }
    }

    fn reached(&mut self) {
        self.failed.clear();
        if std::mem::take(&mut self.is_known) {
            tracing::info!("receivers can be reached again");
        }
    }
}

impl Place {
    /// `None` for what can be reached without any network.
    fn of(unreached: &Unreached) -> Option<Self> {
        match unreached {
            Unreached::Address(ip) if ip.to_canonical().is_loopback() => None,
            Unreached::Address(ip) => Some(Self::Network(match ip.to_canonical() {
                IpAddr::V4(ip) => {
                    let [a, b, _, _] = ip.octets();
                    [a, b, 0, 0]
                }
                IpAddr::V6(ip) => {
                    let [a, b, c, d, ..] = ip.octets();
                    [a, b, c, d]
                }
            })),
            Unreached::Name(host) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                let dots = host.rmatch_indices('.').map(|(at, _)| at + 1);
                let domain = dots.take(2).last().filter(|_| host.matches('.').count() > 1);
                // Names without a dot are all of the network that we are in.
                let local = !host.contains('.');
                Some(Self::Domain(match domain {
                    _ if local => String::new(),
                    Some(at) => host[at..].to_ascii_lowercase(),
                    None => host.to_ascii_lowercase(),
                }))
            }
        }
    }

    const fn is_network(&self) -> bool {
        matches!(self, Self::Network(_))
    }
}

/// Whether the attempt failed before anything answered.
fn is_unreached(outcome: &Outcome) -> bool {
    matches!(
        outcome.reason,
        Reason::Fault(
            Fault::TimeoutConnect
                | Fault::Unreachable
                | Fault::Dns
                | Fault::NoRoute
                | Fault::TokenUnreachable
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Observation, classify};

    fn fault(fault: Fault) -> Outcome {
        classify(Observation::Fault(fault), &Default::default())
    }

    fn at(address: &str) -> Option<Unreached> {
        Some(Unreached::Address(address.parse().unwrap()))
    }

    fn named(host: &str) -> Option<Unreached> {
        Some(Unreached::Name(host.to_owned()))
    }

    /// The class of failures at these places, one after the other.
    fn classes(outage: &mut Outage, places: &[Option<Unreached>]) -> Vec<Class> {
        let judged = places.iter().map(|place| {
            let kind = match place {
                Some(Unreached::Name(_)) => Fault::Dns,
                _ => Fault::TimeoutConnect,
            };
            outage.judge(fault(kind), place.as_ref(), Instant::now()).class
        });
        judged.collect()
    }

    fn last(places: &[Option<Unreached>]) -> Class {
        *classes(&mut Outage::default(), places).last().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn when_nothing_can_be_reached_nobody_is_blamed() {
        let mut outage = Outage::default();
        let far = [
            at("1.1.0.1"),
            at("1.1.0.1"),
            at("9.9.9.9"),
            at("2606:4700::1"),
            at("1.1.0.1"),
        ];
        assert_eq!(
            classes(&mut outage, &far),
            [
                Class::Transient,
                Class::Transient,
                Class::Transient,
                Class::Ours,
                Class::Ours
            ]
        );
        let now = Instant::now();
        let refused = outage.judge(fault(Fault::Refused), None, now);
        assert_eq!(refused.class, Class::Transient, "someone answered");
        assert_eq!(classes(&mut outage, &far[..1]), [Class::Transient]);
        let names = [named("a.example.com"), named("b.example.org"), named("c.test")];
        assert_eq!(last(&names), Class::Ours);
    }

    #[tokio::test(start_paused = true)]
    async fn many_endpoints_in_one_place_are_that_places_trouble() {
        for places in [
            // One host, its neighbours, a private network, this machine.
            &[at("93.184.216.34"), at("93.184.216.34"), at("93.184.216.34")][..],
            &[at("93.184.216.34"), at("93.184.7.1"), at("::ffff:93.184.0.1")],
            &[at("10.0.0.1"), at("10.0.255.2"), at("10.0.3.3")],
            &[at("127.0.0.1"), at("127.1.0.1"), at("::1"), at("127.2.0.1")],
            &[at("2606:4700::1"), at("2606:4700:1::1"), at("2606:4700:2::1")],
            // One domain's name servers, and the names that only this network knows.
            &[
                named("a.example.com"),
                named("B.Example.com."),
                named("c.d.example.com"),
                named("example.com"),
            ],
            &[named("one"), named("two_2"), named("three")],
            // One host by its address and its names.
            &[
                at("93.184.216.34"),
                named("a.example.com"),
                named("a.example.org"),
            ],
            // Nobody says what it was: behind a proxy.
            &[None, None, None, None],
        ] {
            assert_eq!(last(places), Class::Transient, "{places:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_on_one_dead_host_does_not_hide_that_all_else_is_silent() {
        let mut outage = Outage::default();
        let crowd: Vec<_> = (0..100).map(|_| at("93.184.216.34")).collect();
        classes(&mut outage, &crowd);
        let rest = [at("1.1.0.1"), at("9.9.9.9")];
        assert_eq!(classes(&mut outage, &rest), [Class::Transient, Class::Ours]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_long_ago_do_not_count() {
        let mut outage = Outage::default();
        classes(&mut outage, &[at("1.1.0.1"), at("9.9.9.9")]);
        tokio::time::advance(WINDOW).await;
        assert_eq!(classes(&mut outage, &[at("8.8.8.8")]), [Class::Transient]);
    }
}
