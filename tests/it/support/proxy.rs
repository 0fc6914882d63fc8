//! An HTTP proxy on loopback. Whatever host it is asked for, it connects to this machine.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use super::receiver::{Receiver, drain, read_request};

pub struct Proxy {
    receiver: Receiver,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that does what it is asked.
    pub async fn passing_on() -> Self {
        Self::start(None).await
    }

    /// One that answers everything with these bytes and closes.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(Some(answer)).await
    }

    async fn start(answer: Option<&'static str>) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        let receiver = Receiver::start(move |_, stream| serve(stream, answer, kept.clone())).await;
        Self { receiver, heads }
    }

    /// Its URL, with `credentials` such as `user:password@` before the host.
    pub fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.receiver.address)
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub fn accepted(&self) -> usize {
        self.receiver.accepted()
    }
}

async fn serve(mut stream: TcpStream, answer: Option<&'static str>, kept: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    let text = String::from_utf8_lossy(&request).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    kept.lock().unwrap().push(head.clone());
    if let Some(answer) = answer {
        _ = stream.write_all(answer.as_bytes()).await;
        _ = stream.shutdown().await;
        return drain(&mut stream).await;
    }
    let asked = head.split(' ').nth(1).unwrap_or_default();
    if head.starts_with("CONNECT ") {
        let mut onward = dial(asked).await;
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\nx-proxy: yes\r\n\r\n")
            .await
            .unwrap();
        _ = copy_bidirectional(&mut stream, &mut onward).await;
        return;
    }
    let (authority, path) = asked
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("the absolute form");
    let mut onward = dial(authority).await;
    let line = format!("POST /{path} HTTP/1.1\r\nconnection: close");
    let rest = text.split_once("\r\n").unwrap().1;
    onward
        .write_all(format!("{line}\r\n{rest}").as_bytes())
        .await
        .unwrap();
    onward.shutdown().await.unwrap();
    let mut answer = Vec::new();
    _ = onward.read_to_end(&mut answer).await;
    _ = stream.write_all(&answer).await;
}

async fn dial(authority: &str) -> TcpStream {
    let port = authority.rsplit(':').next().unwrap().parse().unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}
