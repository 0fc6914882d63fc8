//! The way to receivers: tokens, certificates and proxies of an endpoint's own.

mod certificates;
mod pinned;
mod proxies;
mod refused;
mod served;
mod tokens;

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use posthaste::{
    domain::{
        address::AddressRules,
        outcome::{Fault, Observation},
        proxy::ProxyChoice,
    },
    sender::{AttemptLimits, Exchange, Sender, SenderOptions, Way},
    wire::request::OutboundRequest,
};
use tokio::io::AsyncWriteExt;

use crate::support::receiver::{Receiver, read_request};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

fn dev() -> SenderOptions {
    SenderOptions {
        rules: AddressRules::dev(),
        ..SenderOptions::default()
    }
}

async fn send_within(sender: &Sender, url: &str, way: Way<'_>, total: Duration) -> Exchange {
    let request = OutboundRequest {
        method: http::Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
    };
    sender.send_by(request, way, AttemptLimits { total }, None).await
}

/// The status that an attempt brought, or its fault.
async fn send(sender: &Sender, url: &str, way: Way<'_>) -> Result<u16, Fault> {
    outcome(&send_within(sender, url, way, LONG).await)
}

fn outcome(exchange: &Exchange) -> Result<u16, Fault> {
    match exchange.observation {
        Observation::Response { status, .. } => Ok(status),
        Observation::Fault(fault) => Err(fault),
    }
}

fn through(url: &str) -> ProxyChoice {
    ProxyChoice::Through(url.parse().unwrap())
}

fn by(proxy: &ProxyChoice) -> Way<'_> {
    Way {
        proxy: Some(proxy),
        ..Way::default()
    }
}

/// A receiver that keeps what it got; answers by what came and by how many came before.
struct Recorder {
    receiver: Receiver,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    async fn start(decide: impl Fn(&str, usize) -> String + Clone + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let receiver = Receiver::start(move |_, mut stream| {
            let (kept, decide) = (kept.clone(), decide.clone());
            async move {
                loop {
                    let request = read_request(&mut stream).await;
                    if request.is_empty() {
                        return;
                    }
                    let text = String::from_utf8(request).unwrap();
                    let answer = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(text.clone());
                        decide(&text, kept.len() - 1)
                    };
                    _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        })
        .await;
        Self { receiver, requests }
    }

    async fn accepting() -> Self {
        Self::start(|_, _| answer(200, "ok")).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A port on this machine where nobody listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
