//! Certificates: authorities and clients of an endpoint's own.

use posthaste::domain::tls::TlsSpec;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::authority::{Authority, http1};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn as_client(tls: &TlsSpec) -> Way<'_> {
    Way {
        tls: Some(tls),
        ..Way::default()
    }
}

fn url(receiver: &Receiver) -> String {
    format!("https://{}/hook", receiver.address)
}

/// A receiver that keeps what certificate each of its connections came with, and ends it after `count` requests.
async fn witness(acceptor: TlsAcceptor, count: usize) -> (Receiver, Arc<Mutex<Vec<Option<Vec<u8>>>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let kept = shown.clone();
    let receiver = Receiver::start(move |_, stream| {
        let (acceptor, kept) = (acceptor.clone(), kept.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let shown = stream.get_ref().1.peer_certificates();
            kept.lock().unwrap().push(shown.map(|chain| chain[0].to_vec()));
            for _ in 0..count {
                if read_request(&mut stream).await.is_empty() {
                    return;
                }
                stream.write_all(OK).await.unwrap();
            }
            _ = stream.shutdown().await;
        }
    })
    .await;
    (receiver, shown)
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_gets_the_endpoint_s() {
    let (authority, clients) = (Authority::new(), Authority::named("of clients"));
    let acceptor = authority.acceptor_for("127.0.0.1", &[], Some((&clients, true)), |_| {});
    let receiver = http1(acceptor).await;
    let sender = authority.sender();
    let (right, wrong) = (clients.client("us"), Authority::named("other").client("us"));
    assert_eq!(send(&sender, &url(&receiver), as_client(&right)).await, Ok(200));
    let handshake = Err(Fault::TlsClientCertificate);
    assert_eq!(send(&sender, &url(&receiver), Way::default()).await, handshake);
    assert_eq!(send(&sender, &url(&receiver), as_client(&wrong)).await, handshake);
    assert_eq!(send(&sender, &url(&receiver), as_client(&right)).await, Ok(200));
}

#[tokio::test]
async fn an_endpoint_s_authority_is_believed_beside_the_others_and_by_that_endpoint_alone() {
    let (known, own) = (Authority::new(), Authority::named("own"));
    let known_receiver = http1(known.acceptor("127.0.0.1", &[], |_| {})).await;
    let own_receiver = http1(own.acceptor("127.0.0.1", &[], |_| {})).await;
    let (sender, tls) = (known.sender(), own.believed());
    assert_eq!(send(&sender, &url(&own_receiver), as_client(&tls)).await, Ok(200));
    assert_eq!(
        send(&sender, &url(&known_receiver), as_client(&tls)).await,
        Ok(200)
    );
    assert_eq!(
        send(&sender, &url(&own_receiver), Way::default()).await,
        Err(Fault::TlsUnknownIssuer)
    );
    let changed = TlsSpec {
        ca_pem: Some(Authority::named("own").pem().try_into().unwrap()),
        ..TlsSpec::default()
    };
    assert_eq!(
        send(&sender, &url(&own_receiver), as_client(&changed)).await,
        Err(Fault::TlsUnknownIssuer)
    );
}

/// The certificate that a client shows.
fn certificate(tls: &TlsSpec) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let pem = tls.client_cert_pem.as_ref().unwrap().as_str();
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn connections_are_kept_for_each_client_by_itself() {
    let (authority, clients) = (Authority::new(), Authority::named("of clients"));
    let acceptor = authority.acceptor_for("127.0.0.1", &[], Some((&clients, false)), |_| {});
    let (receiver, shown) = witness(acceptor, 1000).await;
    let sender = authority.sender();
    let (first, second) = (clients.client("first"), clients.client("second"));
    for _ in 0..3 {
        for way in [as_client(&first), Way::default(), as_client(&second)] {
            assert_eq!(send(&sender, &url(&receiver), way).await, Ok(200));
        }
    }
    let expected = [Some(certificate(&first)), None, Some(certificate(&second))];
    assert_eq!(*shown.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_tls_session_of_one_client_is_never_resumed_for_another() {
    let (authority, clients) = (Authority::new(), Authority::named("of clients"));
    let acceptor = authority.acceptor_for("127.0.0.1", &[], Some((&clients, false)), |_| {});
    let (receiver, shown) = witness(acceptor, 1).await;
    let sender = authority.sender();
    let (first, second) = (clients.client("first"), clients.client("second"));
    let mut expected = Vec::new();
    for _ in 0..3 {
        for tls in [Some(&first), None, Some(&second)] {
            let way = tls.map_or(Way::default(), as_client);
            assert_eq!(send(&sender, &url(&receiver), way).await, Ok(200));
            expected.push(tls.map(certificate));
        }
    }
    assert_eq!(*shown.lock().unwrap(), expected);
}
