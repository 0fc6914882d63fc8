//! What is amiss on this machine is never blamed on a receiver.

use std::{env, fs, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use posthaste::{
    domain::{
        address::AddressRules,
        outcome::{Fault, Observation},
    },
    sender::{AttemptLimits, Sender, SenderOptions},
    wire::request::OutboundRequest,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{
    alone,
    authority::{Authority, http1},
    receiver::{NameServer, Receiver, Says},
};

const LONG: Duration = Duration::from_secs(30);

/// The status that an attempt brought, or its fault.
async fn send(sender: &Sender, url: &str) -> Result<u16, Fault> {
    let request = OutboundRequest {
        method: http::Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
    };
    match sender
        .send(request, AttemptLimits { total: LONG })
        .await
        .observation
    {
        Observation::Response { status, .. } => Ok(status),
        Observation::Fault(fault) => Err(fault),
    }
}

fn dev() -> SenderOptions {
    SenderOptions {
        rules: AddressRules::dev(),
        ..SenderOptions::default()
    }
}

#[tokio::test]
async fn without_certificate_authorities_no_receiver_is_blamed_and_they_are_looked_for_again() {
    const FILE: &str = "SSL_CERT_FILE";
    if !alone::is_alone() {
        let found = tempfile::tempdir().unwrap();
        let (file, directory) = (found.path().join("authorities.pem"), found.path().join("empty"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&directory).unwrap();
        let name =
            "ours::without_certificate_authorities_no_receiver_is_blamed_and_they_are_looked_for_again";
        return alone::run(name, |command| {
            command.env(FILE, file).env("SSL_CERT_DIR", directory)
        });
    }
    let authority = Authority::new();
    let receiver = http1(authority.acceptor("127.0.0.1", &[], |_| {})).await;
    let url = format!("https://{}/", receiver.address);
    // The operator's own authorities are enough.
    assert_eq!(send(&authority.sender(), &url).await, Ok(200));
    let sender = Sender::new(dev());
    for _ in 0..2 {
        assert_eq!(send(&sender, &url).await, Err(Fault::TlsNoRoots));
    }
    fs::write(env::var_os(FILE).unwrap(), authority.pem()).unwrap();
    assert_eq!(send(&sender, &url).await, Ok(200));
}

/// Allows descriptors with numbers below this one; those that are open stay.
fn limit_descriptors(current: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
}

#[tokio::test]
async fn without_a_free_descriptor_no_receiver_is_blamed_and_later_it_is_sent_to() {
    if !alone::is_alone() {
        let name = "ours::without_a_free_descriptor_no_receiver_is_blamed_and_later_it_is_sent_to";
        return alone::run(name, |command| command);
    }
    let receiver =
        Receiver::answering(*b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let names = NameServer::start(Says::Addresses(vec![Ipv4Addr::LOCALHOST])).await;
    let sender = Sender::new(SenderOptions {
        name_servers: vec![names.address],
        ..dev()
    });
    let by_name = |host| format!("http://{host}.example.test:{}/", receiver.address.port());
    let usual = getrlimit(Resource::Nofile).current;
    // Before anything was looked up the hosts file cannot be read, afterwards no name server be asked.
    for host in ["a", "b"] {
        limit_descriptors(Some(0));
        for url in [receiver.url("/"), by_name(host)] {
            assert_eq!(send(&sender, &url).await, Err(Fault::Descriptors), "{url}");
        }
        limit_descriptors(usual);
        for url in [receiver.url("/"), by_name(host)] {
            assert_eq!(send(&sender, &url).await, Ok(200), "{url}");
        }
    }
}
