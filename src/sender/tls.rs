//! Whom to believe on https.
//!
//! The system's certificate authorities (or those of `SSL_CERT_FILE`), and the operator's own; how a certificate is verified
//! is said in [`super::verify`]. They are read at
//! the first https attempt: a server that sends to plain ports only never holds them in memory. There is no
//! switch that turns verification off. An endpoint may bring authorities of its own, which it alone believes beside
//! those, and a client certificate.
//!
//! The handshake is hyper-rustls'. Its connector would have an inner one that dials; ours is given the socket
//! that was dialled and checked, and a fixed name, so that it has no say in whom it speaks to.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::sync::OnceCell;
use tower_service::Service;

use super::{certificate::Certificate, fault, identity, sessions, socket::Socket, verify::Verifier};
use crate::{
    domain::{
        attempt_detail::{TlsDetail, TlsVersion},
        endpoint_url::EndpointUrl,
        outcome::Fault,
        tls::TlsSpec,
    },
    runtime::shortage,
};

/// A connection's bytes, plain or in TLS.
pub(super) type Stream = MaybeHttpsStream<TokioIo<Socket>>;

/// Configurations of endpoints with TLS of their own that are kept: each holds a set of authorities, some 100 KiB.
const KEPT: usize = 64;

/// Certificates of authorities.
pub type Roots = Vec<CertificateDer<'static>>;

/// HTTP/1.1 as TLS calls it.
const HTTP1: &[u8] = b"http/1.1";

pub(super) struct Trust {
    extra_roots: Roots,
    /// How long a session may be resumed.
    session_age: Duration,
    /// The system's and the operator's.
    roots: OnceCell<Arc<RootCertStore>>,
    config: OnceCell<Arc<ClientConfig>>,
    /// By what they are known by, the one used last at the end.
    own: Mutex<VecDeque<([u8; 32], Own)>>,
}

/// The configuration of an endpoint with TLS of its own.
#[derive(Clone)]
struct Own {
    config: Arc<ClientConfig>,
    /// Among the certificates that it believes is one whose key cannot be verified with here.
    has_unsupported_key: bool,
}

/// Why a file of certificate authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoots {
    #[error("not a file of certificates in pem form")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("no certificate in the file")]
    Empty,
}

/// The certificates of a PEM file, for [`super::SenderOptions::extra_roots`].
///
/// # Errors
/// Text that is not PEM, or holds no certificate.
pub fn roots_from_pem(pem: &[u8]) -> Result<Roots, InvalidRoots> {
    let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if roots.is_empty() {
        Err(InvalidRoots::Empty)
    } else {
        Ok(roots)
    }
}

/// A host that can be looked up and that no certificate can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "has a host that no certificate can be for; https takes letters, digits, underscores, and hyphens inside labels"
)]
pub struct InvalidName;

/// Checks that TLS can verify the host of a URL, if it is of https. DNS allows more in a name than certificates do.
///
/// # Errors
/// A host with other characters.
pub fn check_name(url: &EndpointUrl) -> Result<(), InvalidName> {
    if url.is_https() && server_name(&url.host_name()).is_none() {
        return Err(InvalidName);
    }
    Ok(())
}

/// A host as it is named in TLS: without the dot that ends a complete name (RFC 6066, section 3).
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
}

impl Trust {
    pub(super) fn new(extra_roots: Roots, session_age: Duration) -> Self {
        Self {
            extra_roots,
            session_age,
            roots: OnceCell::new(),
            config: OnceCell::new(),
            own: Mutex::default(),
        }
    }

    /// Shakes hands over an open connection and verifies who is there. `seen` is set to what is spoken, and to when the
    /// certificate expires, or has expired.
    ///
    /// # Errors
    /// The fault that the handshake ended with; `TlsNoRoots` when there is nobody to believe.
    pub(super) async fn handshake(
        &self,
        host: &str,
        socket: Socket,
        own: Option<(&TlsSpec, [u8; 32])>,
        is_http1_only: bool,
        seen: &mut Option<TlsDetail>,
    ) -> Result<Stream, Fault> {
        let Own {
            mut config,
            has_unsupported_key,
        } = match own {
            None => Own {
                config: self.config.get_or_try_init(|| self.plain()).await?.clone(),
                has_unsupported_key: false,
            },
            Some((spec, id)) => self.own(spec, id).await?,
        };
        if is_http1_only {
            Arc::make_mut(&mut config).alpn_protocols = vec![HTTP1.to_vec()];
        }
        let name = server_name(host).ok_or(Fault::UrlInvalid)?;
        let name = Arc::new(FixedServerNameResolver::new(name));
        // Only the scheme is looked at.
        let https = Uri::from_static("https://name.invalid/");
        let shaken = HttpsConnector::new(Dialled(socket), config, true, name)
            .call(https)
            .await;
        match shaken {
            Ok(stream) => {
                *seen = detail(&stream);
                Ok(stream)
            }
            Err(error) => {
                *seen = fault::expired_at(&*error).map(|not_after| TlsDetail {
                    version: None,
                    not_after: Some(not_after),
                });
                Err(match fault::of_handshake(&*error) {
                    // A receiver with no other key than one that is not offered to be verified here ends the handshake
                    // itself.
                    Fault::TlsNoCommonVersion if has_unsupported_key => Fault::TlsUnsupportedKey,
                    fault => fault,
                })
            }
        }
    }

    async fn plain(&self) -> Result<Arc<ClientConfig>, Fault> {
        let roots = self.roots().await?.clone();
        config(roots, self.extra_roots.clone(), None, self.session_age)
    }

    /// The configuration of an endpoint that has TLS of its own: kept, so that sessions are resumed, and so that one
    /// endpoint's session is never another's.
    async fn own(&self, spec: &TlsSpec, id: [u8; 32]) -> Result<Own, Fault> {
        if let Some(kept) = self.kept(&id) {
            return Ok(kept);
        }
        // It was checked when the endpoint was saved.
        let identity = identity::read(spec).map_err(|_| Fault::Signing)?;
        let has_unsupported_key = identity.roots.iter().any(|der| {
            Certificate::read(der).is_some_and(|certificate| certificate.unsupported_key.is_some())
        });
        let pinned = [&self.extra_roots[..], &identity.roots].concat();
        let roots = match self.roots().await {
            Ok(roots) if identity.roots.is_empty() => roots.clone(),
            Ok(roots) => with_roots(RootCertStore::clone(roots), identity.roots),
            Err(Fault::TlsNoRoots) if !identity.roots.is_empty() => {
                with_roots(RootCertStore::empty(), identity.roots)
            }
            Err(fault) => return Err(fault),
        };
        let made = Own {
            config: config(roots, pinned, identity.client, self.session_age)?,
            has_unsupported_key,
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= KEPT {
            own.pop_front();
        }
        own.push_back((id, made.clone()));
        Ok(made)
    }

    fn kept(&self, id: &[u8; 32]) -> Option<Own> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let place = own.iter().position(|(known, _)| known == id)?;
        let kept = own.remove(place)?;
        let found = kept.1.clone();
        own.push_back(kept);
        Some(found)
    }

    async fn roots(&self) -> Result<&Arc<RootCertStore>, Fault> {
        self.roots.get_or_try_init(|| self.load_roots()).await
    }

    async fn load_roots(&self) -> Result<Arc<RootCertStore>, Fault> {
        let system = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
        let system = system.await.map_err(|_| Fault::Interrupted)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.certs);
        let (_, unusable) = roots.add_parsable_certificates(self.extra_roots.iter().cloned());
        if unusable > 0 {
            tracing::warn!(
                certificates.unusable = unusable,
                "some certificates of delivery.ca_file are unusable"
            );
        }
        if let Some(short) = system.errors.iter().find_map(of_shortage) {
            // Files that could not be opened now may hold the authority that is needed: not kept.
            return Err(short);
        }
        if roots.is_empty() {
            tracing::error!(
                errors = ?system.errors,
                "no certificate authorities here; install ca-certificates or set delivery.ca_file"
            );
            return Err(Fault::TlsNoRoots);
        }
        Ok(Arc::new(roots))
    }
}

/// What a connection speaks, and how long the receiver's certificate is valid.
fn detail(stream: &Stream) -> Option<TlsDetail> {
    let MaybeHttpsStream::Https(stream) = stream else {
        return None;
    };
    let (_, tls) = stream.inner().get_ref();
    let certificate = tls.peer_certificates().and_then(|chain| chain.first());
    let not_after = certificate.and_then(|certificate| Certificate::read(certificate));
    Some(TlsDetail {
        version: tls.protocol_version().and_then(|version| match version {
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
            _ => None,
        }),
        not_after: not_after.and_then(|read| fault::instant(read.not_after)),
    })
}

/// The fault of a file of certificates that could not be read for want of something.
fn of_shortage(error: &rustls_native_certs::Error) -> Option<Fault> {
    match &error.kind {
        rustls_native_certs::ErrorKind::Io { inner, .. } if shortage::is_temporary(inner) => {
            Some(fault::of_io(inner)).filter(|fault| fault::is_shortage(*fault))
        }
        _ => None,
    }
}

fn with_roots(mut roots: RootCertStore, own: Vec<CertificateDer<'static>>) -> Arc<RootCertStore> {
    roots.add_parsable_certificates(own);
    Arc::new(roots)
}

type Client = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config(
    roots: Arc<RootCertStore>,
    pinned: Vec<CertificateDer<'static>>,
    client: Option<Client>,
    session_age: Duration,
) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(roots, pinned, provider.clone()).map_err(|_| Fault::TlsNoRoots)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Fault::TlsNoCommonVersion)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|_| Fault::Signing)?,
    };
    config.resumption = sessions::resumption(session_age);
    config.alpn_protocols = vec![b"h2".to_vec(), HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// A connector that has nothing left to do.
struct Dialled(Socket);

impl Service<Uri> for Dialled {
    type Response = TokioIo<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Ok(TokioIo::new(self.0.clone())))
    }
}
