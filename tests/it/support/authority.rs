//! Certificate authorities, and https receivers that they vouch for.

use std::sync::Arc;

use posthaste::{
    domain::{address::AddressRules, tls::TlsSpec},
    sender::{Sender, SenderOptions},
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::receiver::{Receiver, drain, read_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A certificate authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("an authority")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server's acceptor, with a certificate for `name` after `change` has been at it.
    pub fn acceptor(
        &self,
        name: &str,
        alpn: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        self.acceptor_for(name, alpn, None, change)
    }

    /// A server's acceptor that asks its clients for a certificate: of this authority where there is one, which must
    /// then be shown if `true` stands beside it.
    pub fn acceptor_for(
        &self,
        name: &str,
        alpn: &[&str],
        clients: Option<(&Self, bool)>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((authority, is_required)) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if is_required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A certificate that it signs.
    pub fn issue(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        params.signed_by(key, &self.issuer).unwrap()
    }

    /// A client's certificate and key.
    pub fn client(&self, name: &str) -> TlsSpec {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsSpec {
            ca_pem: None,
            client_cert_pem: Some(certificate.pem().try_into().unwrap()),
            client_key_pem: Some(key.serialize_pem().try_into().unwrap()),
        }
    }

    /// What an endpoint says to believe this authority.
    pub fn believed(&self) -> TlsSpec {
        TlsSpec {
            ca_pem: Some(self.pem().try_into().unwrap()),
            ..TlsSpec::default()
        }
    }

    /// A sender that believes this authority.
    pub fn sender(&self) -> Sender {
        Sender::new(self.options())
    }

    pub fn options(&self) -> SenderOptions {
        SenderOptions {
            rules: AddressRules::dev(),
            extra_roots: vec![self.certificate.der().clone()],
            ..SenderOptions::default()
        }
    }
}

/// A receiver that speaks HTTP/1.1 in TLS, as long as its caller does.
pub async fn http1(acceptor: TlsAcceptor) -> Receiver {
    Receiver::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                // The alert must not be lost in a reset.
                Err((_, mut stream)) => return drain(&mut stream).await,
            };
            while !read_request(&mut stream).await.is_empty() {
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await
}
