//! The way to a receiver: whom its TLS believes and who we say we are, and through which proxy.
//!
//! A connection is used again only for a request of the very same route ([`RouteId`] is part of the pool's key): what one
//! endpoint's certificate or proxy has opened is never another's.

use sha2::{Digest, Sha256};

use crate::domain::{
    auth::{Auth, ClientCredentials},
    endpoint::EndpointSpec,
    outcome::{Class, Fault},
    proxy::{ProxyChoice, ProxyUrl},
    tls::{CertificatesPem, TlsSpec},
};

/// How an endpoint wants its requests to travel; the default is the way of one that wants nothing special.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way<'a> {
    pub tls: Option<&'a TlsSpec>,
    /// What the endpoint says of proxies; the sender's own holds where it says nothing.
    pub proxy: Option<&'a ProxyChoice>,
    /// What a token is fetched for and put into the request's `Authorization` header.
    pub oauth2: Option<&'a ClientCredentials>,
}

impl<'a> Way<'a> {
    pub fn of(spec: &'a EndpointSpec) -> Self {
        Self {
            tls: spec.tls.as_ref(),
            proxy: spec.proxy.as_ref(),
            oauth2: spec.auth.as_ref().and_then(Auth::oauth2),
        }
    }
}

/// What routes are told apart by; all zero for the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteId(pub(super) [u8; 32]);

/// A resolved [`Way`], without what is fetched on it.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) id: RouteId,
    /// TLS that is not everyone's, and what it is known by.
    pub(super) tls: Option<(&'a TlsSpec, [u8; 32])>,
    pub(super) hop: Option<Hop<'a>>,
}

/// A proxy to go through.
#[derive(Clone, Copy)]
pub(super) struct Hop<'a> {
    pub(super) proxy: &'a ProxyUrl,
    /// The operator's rather than the endpoint's: exempt from the address rules, and no endpoint is blamed for it.
    pub(super) is_ours: bool,
}

impl<'a> Route<'a> {
    pub(super) fn new(way: &Way<'a>, ours: Option<&'a ProxyUrl>) -> Self {
        let tls = way
            .tls
            .filter(|tls| **tls != TlsSpec::default())
            .map(|tls| (tls, tls_id(tls)));
        let hop = match way.proxy {
            Some(ProxyChoice::Direct) => None,
            Some(ProxyChoice::Through(proxy)) => Some(Hop {
                proxy,
                is_ours: false,
            }),
            None => ours.map(|proxy| Hop { proxy, is_ours: true }),
        };
        let id = match (&tls, &hop) {
            (None, None) => RouteId::default(),
            _ => {
                let tls = tls.as_ref().map(|(_, id)| &id[..]);
                let proxy = hop.as_ref().map(|hop| hop.proxy.expose().as_bytes());
                let owner: &[u8] = &[u8::from(hop.is_some_and(|hop| hop.is_ours))];
                RouteId(digest([tls, proxy, Some(owner)]))
            }
        };
        Self { id, tls, hop }
    }
}

fn tls_id<'a>(tls: &'a TlsSpec) -> [u8; 32] {
    let certificates = |pem: Option<&'a CertificatesPem>| pem.map(|pem| pem.as_str().as_bytes());
    digest([
        certificates(tls.ca_pem.as_ref()),
        certificates(tls.client_cert_pem.as_ref()),
        tls.client_key_pem.as_ref().map(|key| key.expose().as_bytes()),
    ])
}

/// A hash of parts that may be missing, none of which can pass for another's beginning or end.
pub(super) fn digest<'p>(parts: impl IntoIterator<Item = Option<&'p [u8]>>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        let bytes = part.unwrap_or_default();
        hash.update([u8::from(part.is_some())]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

impl Hop<'_> {
    /// The fault of a proxy that will not let a request through.
    pub(super) const fn refused(&self) -> Fault {
        if self.is_ours {
            Fault::OurProxyRefused
        } else {
            Fault::ProxyRefused
        }
    }

    /// The fault of a proxy that cannot be connected to, or has broken off.
    pub(super) const fn unreachable(&self) -> Fault {
        if self.is_ours {
            Fault::OurProxyUnreachable
        } else {
            Fault::ProxyUnreachable
        }
    }

    /// What the end of a connection to a proxy is that passes requests on itself: the proxy's.
    pub(super) const fn broken(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Reset | Fault::ClosedEarly => self.unreachable(),
            other => other,
        }
    }

    /// What a fault on the way to the proxy is. What is about this machine, or about the rules, stays what it is.
    pub(super) const fn fault(&self, fault: Fault) -> Fault {
        match fault.class().0 {
            Class::Ours | Class::EndpointError => fault,
            Class::Delivered | Class::Transient | Class::EventError => self.unreachable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_differ_by_certificate_key_authority_and_proxy() {
        let tls = |member: &str, text: &str| -> TlsSpec {
            serde_json::from_str(&format!(r#"{{"{member}":"-----BEGIN {text}"}}"#)).unwrap()
        };
        let specs = [
            TlsSpec::default(),
            tls("ca_pem", "A"),
            tls("ca_pem", "B"),
            tls("client_cert_pem", "A"),
            tls("client_key_pem", "A"),
        ];
        let proxies: Vec<ProxyChoice> = ["http://p.test:1", "http://u:a@p.test:1", "http://u:b@p.test:1"]
            .iter()
            .map(|text| ProxyChoice::Through(text.parse().unwrap()))
            .collect();
        let ours: ProxyUrl = "http://p.test:1".parse().unwrap();
        let mut ids = Vec::new();
        for tls in specs.iter().map(Some).chain([None]) {
            for (proxy, ours) in proxies.iter().map(|proxy| (Some(proxy), None)).chain([
                (None, None),
                (None, Some(&ours)),
                (Some(&ProxyChoice::Direct), Some(&ours)),
            ]) {
                let way = Way {
                    tls,
                    proxy,
                    oauth2: None,
                };
                ids.push(Route::new(&way, ours).id);
            }
        }
        // No TLS of its own and an empty one are the same, and so are no proxy and none wanted.
        ids.sort_by_key(|id| id.0);
        ids.dedup();
        assert_eq!(ids.len(), 5 * 5);
        assert_eq!(Route::new(&Way::default(), None).id, RouteId::default());
    }
}
