//! Requests that carry a token: fetched, put in, and fetched anew when the receiver says 401.
//!
//! The token endpoint is asked on the receiver's route, with the same address rules, bounds and trust, and within the
//! attempt's own time. Its failures have faults of their own: they are not the receiver's.

use http::header::AUTHORIZATION;
use tokio::time::Instant;

use super::{
    Exchange, Inner,
    answer::{Decided, Wanted},
    notes,
    route::Route,
    tokens::{Key, NotGranted, Token},
};
use crate::{
    domain::{
        auth::ClientCredentials,
        limits,
        outcome::{Class, Fault, Observation, status_class},
    },
    wire::{
        request::OutboundRequest,
        token::{self, Grant},
    },
};

const UNAUTHORIZED: u16 = 401;

impl Inner {
    /// Makes an attempt with a token. A 401 has the token fetched anew and the request sent again, once.
    pub(super) async fn authorized(
        &self,
        request: &OutboundRequest,
        credentials: &ClientCredentials,
        route: &Route<'_>,
        deadline: Instant,
        mut decided: Option<Decided<'_>>,
        exchange: &mut Exchange,
    ) -> Result<(), Fault> {
        // Nothing is fetched for what would not be sent.
        self.check(&request.url)?;
        let mut refused = None;
        loop {
            let token = match self.token(credentials, route, refused, deadline, exchange).await {
                Ok(token) => token,
                Err(fault) => {
                    // Nothing was sent. What would have been is of use all the same.
                    notes::request(exchange, request, route, self.detail);
                    return Err(fault);
                }
            };
            let mut request = request.clone();
            request.headers.insert(AUTHORIZATION, token.authorization);
            // A first 401 decides nothing yet.
            let is_first = refused.is_none();
            let mut decided = decided.as_mut().map(|decided| {
                move |status| {
                    if !is_first || status != UNAUTHORIZED {
                        decided(status);
                    }
                }
            });
            let wanted = Wanted {
                kept: limits::RESPONSE_KEPT_BYTES,
                decided: decided.as_mut().map(|decided| decided as Decided<'_>),
            };
            self.attempt(&mut request, route, deadline, wanted, exchange)
                .await?;
            if refused.is_some() || !is_unauthorized(exchange.observation) {
                return Ok(());
            }
            refused = Some(token.serial);
        }
    }

    async fn token(
        &self,
        credentials: &ClientCredentials,
        route: &Route<'_>,
        refused: Option<u64>,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Token, Fault> {
        let key = Key::of(credentials, route.id);
        let fetch = async || self.fetch(credentials, route, deadline).await;
        let got = self.tokens.get(key, refused, deadline, fetch).await;
        got.map_err(|failed| {
            *exchange = Exchange {
                remote: failed.remote,
                unreached: failed.unreached,
                excerpt: failed.error.map(said).unwrap_or_default(),
                ..Exchange::nothing()
            };
            failed.fault
        })
    }

    async fn fetch(
        &self,
        credentials: &ClientCredentials,
        route: &Route<'_>,
        deadline: Instant,
    ) -> Result<Grant, NotGranted> {
        let mut exchange = Exchange::nothing();
        let failed = |fault, error, remote| NotGranted {
            fault,
            remote,
            error,
            unreached: None,
            is_late: Instant::now() >= deadline,
        };
        let Ok(mut request) = token::request(credentials) else {
            return Err(failed(Fault::Signing, None, None));
        };
        let wanted = Wanted {
            kept: limits::RESPONSE_READ_BYTES,
            decided: None,
        };
        if let Err(fault) = self
            .attempt(&mut request, route, deadline, wanted, &mut exchange)
            .await
        {
            let asked = exchange.remote.filter(|_| exchange.sent);
            return Err(NotGranted {
                unreached: exchange.unreached,
                ..failed(of_fault(fault), None, asked)
            });
        }
        let body = &exchange.excerpt[..];
        match exchange.observation {
            Observation::Fault(fault) => Err(failed(of_fault(fault), None, exchange.remote)),
            Observation::Response {
                body_broken: false,
                status: 200..=299,
                ..
            } => token::read(body).map_err(|_| failed(Fault::TokenUnusable, None, exchange.remote)),
            Observation::Response {
                status: 200..=299, ..
            } => Err(failed(Fault::TokenUnavailable, None, exchange.remote)),
            Observation::Response { status, .. } => {
                Err(failed(of_status(status), token::error(body), exchange.remote))
            }
        }
    }
}

/// A receiver that refuses the token, unless it says besides what is to become of the endpoint or the event.
const fn is_unauthorized(observation: Observation) -> bool {
    matches!(
        observation,
        Observation::Response {
            status: UNAUTHORIZED,
            directive: None,
            ..
        }
    )
}

/// What a token endpoint's error is kept as: what it sent, without what may be private in it.
fn said(error: &'static str) -> bytes::Bytes {
    bytes::Bytes::from(format!(r#"{{"error":"{error}"}}"#))
}

/// What a fault on the way to a token endpoint is. What is about this machine, its clock, a proxy or the rules stays what
/// it is.
const fn of_fault(fault: Fault) -> Fault {
    match fault {
        Fault::TimeoutConnect | Fault::Unreachable | Fault::Dns => Fault::TokenUnreachable,
        Fault::TlsNotYetValid | Fault::ProxyUnreachable => fault,
        _ => match fault.class() {
            (Class::Transient, true) => Fault::TokenUnusable,
            (Class::Transient, false) => Fault::TokenUnavailable,
            (Class::Ours | Class::EndpointError | Class::EventError | Class::Delivered, _) => fault,
        },
    }
}

/// What a token endpoint means by a status that is no success.
const fn of_status(status: u16) -> Fault {
    match status_class(status) {
        (Class::Transient, false) => Fault::TokenUnavailable,
        (Class::Transient, true) => Fault::TokenUnusable,
        (Class::EndpointError | Class::EventError, _) if status >= 400 && status <= 599 => {
            Fault::TokenRefused
        }
        _ => Fault::TokenUnusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_endpoint_s_trouble_is_told_from_the_receiver_s_and_from_ours() {
        let table = [
            (Fault::TimeoutConnect, Fault::TokenUnreachable),
            (Fault::Dns, Fault::TokenUnreachable),
            (Fault::TimeoutTotal, Fault::TokenUnavailable),
            (Fault::Refused, Fault::TokenUnavailable),
            (Fault::Reset, Fault::TokenUnavailable),
            (Fault::DnsNotFound, Fault::TokenUnusable),
            (Fault::TlsExpired, Fault::TokenUnusable),
            (Fault::Protocol, Fault::TokenUnusable),
            (Fault::TlsNotYetValid, Fault::TlsNotYetValid),
            (Fault::AddressForbidden, Fault::AddressForbidden),
            (Fault::Descriptors, Fault::Descriptors),
            (Fault::NoRoute, Fault::NoRoute),
            (Fault::OurProxyRefused, Fault::OurProxyRefused),
            (Fault::ProxyUnreachable, Fault::ProxyUnreachable),
        ];
        for (fault, expected) in table {
            assert_eq!(of_fault(fault), expected, "{fault:?}");
        }
    }

    #[test]
    fn a_token_endpoint_s_status_says_whether_it_will_ever_give_one() {
        for (statuses, expected) in [
            (&[400, 401, 403, 404, 405, 422, 501][..], Fault::TokenRefused),
            (&[408, 429, 500, 502, 503, 504], Fault::TokenUnavailable),
            (&[301, 302, 304, 307, 308, 101, 999], Fault::TokenUnusable),
        ] {
            for &status in statuses {
                assert_eq!(of_status(status), expected, "{status}");
            }
        }
    }
}
