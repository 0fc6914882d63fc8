//! Receivers that do not receive.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What such a receiver does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    Hangs,
    Drips,
}

/// An address where nobody listens: connections are refused.
pub async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Accepts connections and never answers.
pub async fn hanging() -> SocketAddr {
    listening(Manner::Hangs).await
}

/// Answers every request by a byte a second, so that not even the head comes in time.
pub async fn dripping() -> SocketAddr {
    listening(Manner::Drips).await
}

async fn listening(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                match manner {
                    Manner::Hangs => hang(stream).await,
                    Manner::Drips => drip(stream).await,
                }
            });
        }
    });
    address
}

/// Reads until the sender gives up.
async fn hang(mut stream: TcpStream) {
    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
}

async fn drip(mut stream: TcpStream) {
    _ = stream.read(&mut [0; 4096]).await;
    let answer = format!("HTTP/1.1 200 OK\r\nx-slow: {}\r\n\r\n", "x".repeat(600));
    for byte in answer.bytes() {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
