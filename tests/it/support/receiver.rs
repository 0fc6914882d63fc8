//! Receivers and name servers on loopback that behave as badly as a test needs.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
};

/// A listener that hands each connection, with its number from 0, to a behaviour. Stops when dropped.
pub struct Receiver {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Receiver {
    pub async fn start<B, F>(behave: B) -> Self
    where
        B: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                connections.spawn(behave(number, stream));
            }
        });
        Self {
            address,
            accepted,
            accepting,
        }
    }

    /// Reads one request, writes `answer`, and closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                // The other side may have had enough before the end.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                drain(&mut stream).await;
            }
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads a request with a `content-length` body; what came, up to the end of the stream if that is earlier.
pub async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    bytes
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    bytes.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap())
}

/// Reads until the other side closes, so that closing here does not reset what it has yet to read.
pub async fn drain<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// What a name server says to a question for IPv4 addresses; for others it says that there are none.
#[derive(Clone)]
pub enum Says {
    Addresses(Vec<Ipv4Addr>),
    Code(u8),
    Nothing,
}

/// A name server that gives every name the same answer. Stops when dropped.
pub struct NameServer {
    pub address: SocketAddr,
    answering: JoinHandle<()>,
}

impl NameServer {
    pub async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = dns_answer(&question[..length], &says) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, answering }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// An answer in the wire form of RFC 1035: the header, the question again, and the addresses.
fn dns_answer(question: &[u8], says: &Says) -> Option<Vec<u8>> {
    let name_end = 12 + question[12..].iter().position(|&byte| byte == 0)? + 1;
    let asks_for_ipv4 = question[name_end..name_end + 2] == [0, 1];
    let (code, addresses) = match says {
        Says::Nothing => return None,
        Says::Code(code) => (*code, &[][..]),
        Says::Addresses(addresses) if asks_for_ipv4 => (0, &addresses[..]),
        Says::Addresses(_) => (0, &[][..]),
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 4]);
    for address in addresses {
        // The name at offset 12, type A, class IN, 60 seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
