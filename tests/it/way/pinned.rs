//! Receivers whose own certificates are given as what to believe, and certificates that are refused for their flaws.

use posthaste::domain::tls::TlsSpec;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::{
    authority::{Authority, http1},
    receiver::{NameServer, Says, drain},
    server::{Server, wait_for},
};

/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521`, for 127.0.0.1 and a hundred years.
const P521: &str = "-----BEGIN CERTIFICATE-----
MIICFzCCAXmgAwIBAgIUAT0JlXyYVYJX5JW7a0RVFWLKO9cwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyOTE4MTUzOFoYDzIxMjYxMTA1
MTgxNTM4WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwgZswEAYHKoZIzj0CAQYFK4EE
ACMDgYYABABqzbJ9zggZMjIGA3aoabkUaJw0ekyTbeeZRdJkCz77kc8xIjUtm3EJ
Dqe3/P5v6EwNq+QCfPwIyw9RMk9dIEj6HwHPiXGyVR71ZZewxv7tfnVDqm8jddD3
yQ+Mu8FVfFrKDY9Ddj+UCC7/0rTq9tvbjKSZIsgDrk/mQNOIvbsdAhAMraNkMGIw
HQYDVR0OBBYEFDsfLsSyXxJF87IKyb0dz4BFbm9EMB8GA1UdIwQYMBaAFDsfLsSy
XxJF87IKyb0dz4BFbm9EMA8GA1UdEwEB/wQFMAMBAf8wDwYDVR0RBAgwBocEfwAA
ATAKBggqhkjOPQQDAgOBiwAwgYcCQgFNdLIdUPoe4lut3PlH9c5CSAG2W5MjvFQ+
xEzCTq6ezIjm8pRyjl6ycKLHJ1m7Arxh1pRtHV4VOUQUVKGy/lJz2gJBCrsW5KT+
fV/drLnH87mui349zsyPeYR5vxqakW0VDdvWCKAToM6vu0FRw9yoCFzmpRON8ly7
yYG9K7INzvyiS10=
-----END CERTIFICATE-----
";

fn key_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(pair.serialize_der()).unwrap()
}

/// A server that shows this certificate and signs with this key, whether they belong together or not.
fn acceptor(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> TlsAcceptor {
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key_of(key)).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    TlsAcceptor::from(Arc::new(config))
}

fn params(
    names: &[&str],
    common_name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    change(&mut params);
    params
}

fn as_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn believing(pem: &str) -> TlsSpec {
    TlsSpec {
        ca_pem: Some(pem.to_owned().try_into().unwrap()),
        ..TlsSpec::default()
    }
}

fn by_tls(tls: &TlsSpec) -> Way<'_> {
    Way {
        tls: Some(tls),
        ..Way::default()
    }
}

/// A receiver with a certificate that it has signed itself, and an endpoint's settings that believe it.
async fn self_signed(params: CertificateParams) -> (Receiver, TlsSpec) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tls = believing(&certificate.pem());
    (http1(acceptor(vec![certificate.der().clone()], &key)).await, tls)
}

async fn sent(receiver: &Receiver, tls: &TlsSpec) -> Result<u16, Fault> {
    let url = format!("https://{}/", receiver.address);
    send(&Sender::new(dev()), &url, by_tls(tls)).await
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_where_it_is_given_as_it_is() {
    let other = believing(&Authority::new().pem());
    for is_ca in [true, false] {
        let params = params(&["127.0.0.1"], "box", |params| {
            if is_ca {
                as_authority(params);
            }
        });
        let (receiver, tls) = self_signed(params).await;
        assert_eq!(sent(&receiver, &tls).await, Ok(200));
        let refused = if is_ca {
            Fault::TlsCertificateIsCa
        } else {
            Fault::TlsUnknownIssuer
        };
        assert_eq!(sent(&receiver, &other).await, Err(refused));
        // The operator's file of authorities counts like an endpoint's.
        let pem = tls.ca_pem.as_ref().unwrap().as_str();
        let sender = Sender::new(SenderOptions {
            extra_roots: vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            ..dev()
        });
        let url = format!("https://{}/", receiver.address);
        assert_eq!(send(&sender, &url, Way::default()).await, Ok(200));
    }
}

#[tokio::test]
async fn a_common_name_counts_for_a_certificate_that_is_given_itself_and_for_no_other() {
    for (names, common_name, expected) in [
        (&[][..], "127.0.0.1", Ok(200)),
        (&[], "other", Err(Fault::TlsWrongName)),
        (&["other.test"], "127.0.0.1", Err(Fault::TlsWrongName)),
    ] {
        let (receiver, tls) = self_signed(params(names, common_name, as_authority)).await;
        assert_eq!(sent(&receiver, &tls).await, expected, "{names:?} {common_name}");
    }
    let authority = Authority::new();
    let issued = authority.acceptor("unused", &[], |changed| {
        *changed = params(&[], "127.0.0.1", |_| {});
    });
    let receiver = http1(issued).await;
    assert_eq!(
        sent(&receiver, &authority.believed()).await,
        Err(Fault::TlsNoName)
    );
}

#[tokio::test]
async fn a_leaf_of_an_unknown_authority_is_accepted_as_it_is_and_its_sisters_are_not() {
    let (authority, mut issued) = (Authority::new(), Vec::new());
    for _ in 0..2 {
        let key = KeyPair::generate().unwrap();
        issued.push((authority.issue(&params(&["127.0.0.1"], "box", |_| {}), &key), key));
    }
    let tls = believing(&issued[0].0.pem());
    let expected = [Ok(200), Err(Fault::TlsUnknownIssuer)];
    for ((certificate, key), expected) in issued.iter().zip(expected) {
        let receiver = http1(acceptor(vec![certificate.der().clone()], key)).await;
        assert_eq!(sent(&receiver, &tls).await, expected);
    }
}

#[tokio::test]
async fn dates_names_and_keys_are_checked_of_a_certificate_that_is_given_itself() {
    type Change = fn(&mut CertificateParams);
    let flaws: [(Fault, &str, Change); 3] = [
        (Fault::TlsExpired, "127.0.0.1", |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        }),
        (Fault::TlsNotYetValid, "127.0.0.1", |params| {
            params.not_before = date_time_ymd(3000, 1, 1);
        }),
        (Fault::TlsWrongName, "127.0.0.2", |_| {}),
    ];
    for (expected, name, change) in flaws {
        for is_ca in [true, false] {
            let params = params(&[name], "box", |params| {
                change(params);
                if is_ca {
                    as_authority(params);
                }
            });
            let (receiver, tls) = self_signed(params).await;
            assert_eq!(sent(&receiver, &tls).await, Err(expected));
        }
    }
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = params(&["127.0.0.1"], "box", as_authority)
        .self_signed(&key)
        .unwrap();
    let stolen = http1(acceptor(vec![certificate.der().clone()], &other)).await;
    assert_eq!(
        sent(&stolen, &believing(&certificate.pem())).await,
        Err(Fault::TlsWrongKey)
    );
}

#[tokio::test]
async fn other_flaws_have_a_reason_of_their_own() {
    let authority = Authority::new();
    let for_clients = authority.acceptor("127.0.0.1", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let receiver = http1(for_clients).await;
    assert_eq!(
        sent(&receiver, &authority.believed()).await,
        Err(Fault::TlsWrongPurpose)
    );
    // Issued by somebody who is no authority.
    let (middle_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let middle_params = params(&["middle.test"], "middle", |_| {});
    let middle = authority.issue(&middle_params, &middle_key);
    let issuer = rcgen::Issuer::new(middle_params, middle_key);
    let leaf = params(&["127.0.0.1"], "box", |_| {})
        .signed_by(&key, &issuer)
        .unwrap();
    let chain = vec![leaf.der().clone(), middle.der().clone()];
    let receiver = http1(acceptor(chain, &key)).await;
    assert_eq!(
        sent(&receiver, &authority.believed()).await,
        Err(Fault::TlsIssuerNotAllowed)
    );
    // A receiver whose only key is not among those offered to be verified ends the handshake: handshake_failure.
    let refusing = Receiver::start(|_, mut stream| async move {
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    assert_eq!(
        sent(&refusing, &believing(P521)).await,
        Err(Fault::TlsUnsupportedKey)
    );
    assert_eq!(
        sent(&refusing, &authority.believed()).await,
        Err(Fault::TlsNoCommonVersion)
    );
}

#[tokio::test]
async fn a_name_with_an_underscore_is_verified_like_any_other() {
    let authority = Authority::new();
    let local = Says::Addresses(vec!["127.0.0.1".parse().unwrap()]);
    let server = NameServer::start(local).await;
    let sender = Sender::new(SenderOptions {
        name_servers: vec![server.address],
        ..authority.options()
    });
    for (names, host, expected) in [
        ("my_service.test", "my_service.test", Ok(200)),
        ("*.app_net.test", "web_1.app_net.test", Ok(200)),
        ("my_service.test", "my_other.test", Err(Fault::TlsWrongName)),
    ] {
        let receiver = http1(authority.acceptor(names, &[], |_| {})).await;
        let url = format!("https://{host}:{}/", receiver.address.port());
        assert_eq!(send(&sender, &url, Way::default()).await, expected, "{host}");
    }
}

/// The warnings in an answer.
fn warnings(answer: &Value) -> String {
    let list = answer["warnings"].as_array().cloned().unwrap_or_default();
    let texts: Vec<_> = list
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect();
    texts.join("\n")
}

#[test]
fn certificates_that_will_not_do_for_every_receiver_are_warned_of_when_they_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let own = |params: CertificateParams| params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let create = |url: &str, pem: &str| {
        let document = json!({"url": url, "tls": {"ca_pem": pem}});
        server.post("/v1/endpoints", &document).json()
    };
    let url = "https://127.0.0.1:9/";
    for (pem, expected) in [
        (own(params(&["127.0.0.1"], "box", as_authority)), "byte for byte"),
        (own(params(&["127.0.0.1"], "box", |_| {})), "byte for byte"),
        (
            own(params(&[], "127.0.0.1", as_authority)),
            "has no subjectAltName",
        ),
        (own(params(&["other.test"], "box", |_| {})), "tls_wrong_name"),
        (P521.to_owned(), "ECDSA P-521"),
        (
            own(params(&["127.0.0.1"], "box", |params| {
                params.not_after = date_time_ymd(2020, 1, 1);
            })),
            "has expired",
        ),
    ] {
        let told = warnings(&create(url, &pem));
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(told.starts_with("tls.ca_pem: certificate 1 "), "{told}");
    }
    let created = create(url, &Authority::new().pem());
    assert_eq!(warnings(&created), "", "an authority's is what it should be");
    let path = format!("/v1/endpoints/{}", created["id"].as_str().unwrap());
    let two = format!("{}{P521}", Authority::new().pem());
    let patch = json!({"tls": {"ca_pem": two}}).to_string();
    let kind = Some("application/merge-patch+json");
    let patched = server.request("PATCH", &path, kind, patch.as_bytes()).json();
    assert!(
        warnings(&patched).contains("certificate 2 has a key"),
        "{patched}"
    );
    assert_eq!(warnings(&server.get(&path)), "", "of what is saved, once");
    let entry = json!({"endpoints": [{"url": url, "name": "other", "tls": {"ca_pem": P521}}]});
    let applied = server.request(
        "PUT",
        "/v1/endpoints",
        Some("application/json"),
        entry.to_string().as_bytes(),
    );
    let told = warnings(&applied.json());
    assert!(told.starts_with(r#"endpoint "other": tls.ca_pem: "#), "{told}");
}

#[test]
fn an_attempt_that_a_certificate_stops_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (receiver, _) = runtime.block_on(self_signed(params(&["127.0.0.1"], "box", as_authority)));
    let endpoint = server.endpoint(&json!({
        "url": format!("https://{}/", receiver.address), "retry": {"retries": 0, "delay": "1s"},
        "tls": {"ca_pem": Authority::new().pem()}, "disable_on": "never",
    }));
    let event = server.event(&json!({"type": "a", "data": 1}));
    let attempt = wait_for("an attempt", || server.attempts(&event).pop());
    assert_eq!(attempt["reason"], "tls_certificate_is_ca", "{attempt}");
    server.delivery_in(&event, "failed");
    let explained = server.get(&format!("/v1/events/{event}/explain"));
    assert!(
        explained
            .to_string()
            .contains("put this very certificate into tls.ca_pem"),
        "{explained}"
    );
    let test = server
        .post(&format!("/v1/endpoints/{endpoint}/test"), &json!({}))
        .json();
    assert!(
        test["explanation"]
            .as_str()
            .is_some_and(|text| text.contains("CA:TRUE")),
        "{test}"
    );
}
