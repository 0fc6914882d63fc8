//! An HTTP/2 receiver that writes its frames itself, so that it can do what no library does.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::receiver::Receiver;

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200 without a body.
    Ok,
    /// REFUSED_STREAM.
    Refuse,
    /// GOAWAY with this error code, whose last stream is the one before the request's; later requests of the
    /// connection get nothing.
    GoAway(u32),
    /// A head of these bytes in HPACK.
    Head(Vec<u8>),
    /// The connection ends without a word.
    Close,
}

/// `:status: 200` in HPACK.
pub const STATUS_200: u8 = 0x88;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    body: Vec<u8>,
}

/// Asks `decide` about each request, by the number of its connection and its own on that connection, both from 0.
pub async fn deciding(
    acceptor: TlsAcceptor,
    decide: impl Fn(usize, usize) -> Reply + Send + Sync + 'static,
) -> Receiver {
    let decide = Arc::new(decide);
    Receiver::start(move |connection, stream| {
        let (acceptor, decide) = (acceptor.clone(), decide.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                // The other side may go at any time.
                let _ = serve(stream, |request| decide(connection, request)).await;
            }
        }
    })
    .await
}

/// Serves a connection that has agreed on HTTP/2, until the other side closes it.
pub async fn serve(mut stream: TlsStream<TcpStream>, decide: impl Fn(usize) -> Reply) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let (mut requests, mut is_gone) = (0, false);
    loop {
        let came = read(&mut stream).await?;
        let answer = match came.kind {
            SETTINGS if came.flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if came.flags & ACK == 0 => frame(PING, ACK, 0, &came.body),
            0 | HEADERS if came.flags & END_STREAM != 0 && !is_gone => {
                requests += 1;
                let all = END_HEADERS | END_STREAM;
                match decide(requests - 1) {
                    Reply::Ok => frame(HEADERS, all, came.stream, &[STATUS_200]),
                    Reply::Head(block) => frame(HEADERS, all, came.stream, &block),
                    Reply::Refuse => frame(RST_STREAM, 0, came.stream, &REFUSED_STREAM.to_be_bytes()),
                    Reply::GoAway(code) => {
                        is_gone = true;
                        let last = came.stream.saturating_sub(2);
                        frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
                    }
                    Reply::Close => return Ok(()),
                }
            }
            _ => continue,
        };
        stream.write_all(&answer).await?;
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        body,
    })
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}
