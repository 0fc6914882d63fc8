//! Answers whose heads break the grammar: the status decides, and the connection is not used again.

use posthaste::{domain::outcome::Observation, sender::Sender};
use tokio::io::AsyncWriteExt;

use super::{LONG, dev, send, send_within, status};
use crate::support::receiver::{Receiver, drain, read_request};

/// Header lines that no parser has to take.
fn odd_lines() -> Vec<Vec<u8>> {
    let many: String = (0..120).map(|number| format!("x-{number}: a\r\n")).collect();
    let mut odd: Vec<Vec<u8>> = [
        &b"set-cookie: session=ab\x01cd; path=/\r\n"[..],
        b"set-cookie: a=b\0c\r\n",
        b"set-cookie: a=b; domain=\x7fexample\r\n",
        b"x-info : a\r\n",
        b"x info: a\r\n",
        b"x-gr\xf6\xdfe: a\r\n",
        b"a warning that was printed\r\n",
        b"x-info: a\r\n and b\r\n",
        b"x-info: a\rb\r\n",
        b": nothing\r\n",
    ]
    .iter()
    .map(|line| line.to_vec())
    .collect();
    odd.push(many.into_bytes());
    odd
}

/// Answers every request of a connection with a head that has `odd` in it, and leaves the connection open.
async fn answering_oddly(status: u16, odd: Vec<u8>) -> Receiver {
    let head = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    let rest = b"retry-after: 7\r\ncontent-length: 5\r\n\r\nhello";
    let answer = [&head, &odd, &rest[..]].concat();
    Receiver::start(move |_, mut stream| {
        let answer = answer.clone();
        async move {
            while !read_request(&mut stream).await.is_empty() {
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_status_decides_whatever_the_other_lines_are() {
    for odd in odd_lines() {
        let receiver = answering_oddly(200, odd.clone()).await;
        let exchange = send(&Sender::new(dev()), &receiver.url("/")).await;
        let shown = String::from_utf8_lossy(&odd).into_owned();
        assert_eq!(status(&exchange), Some((200, false)), "{shown:.60}");
        assert_eq!(&exchange.excerpt[..], b"hello", "{shown:.60}");
    }
}

#[tokio::test]
async fn the_headers_that_can_be_read_still_count() {
    let receiver = answering_oddly(503, b"set-cookie: \x01\r\n".to_vec()).await;
    let exchange = send(&Sender::new(dev()), &receiver.url("/")).await;
    let Observation::Response {
        status, retry_after, ..
    } = exchange.observation
    else {
        panic!("{exchange:?}")
    };
    assert_eq!(status, 503);
    assert!(retry_after.is_some());
}

#[tokio::test]
async fn a_connection_with_an_odd_head_is_not_used_again() {
    let receiver = answering_oddly(200, b"no colon\r\n".to_vec()).await;
    let sender = Sender::new(dev());
    for number in 1..=3 {
        assert_eq!(
            status(&send(&sender, &receiver.url("/")).await),
            Some((200, false))
        );
        assert_eq!((receiver.accepted(), sender.idle_connections()), (number, 0));
    }
}

#[tokio::test]
async fn an_unclear_length_ends_the_attempt_at_once_with_a_broken_body() {
    for framing in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: -1",
        "content-length: 5\x01",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nhello");
        let receiver = Receiver::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                drain(&mut stream).await;
            }
        })
        .await;
        let sender = Sender::new(dev());
        // The receiver waits for more: only the sender can end it.
        let exchange = send_within(&sender, &receiver.url("/"), 10 * LONG).await;
        assert_eq!(status(&exchange), Some((200, true)), "{framing:?}");
        assert!(exchange.duration < LONG);
        assert_eq!(sender.idle_connections(), 0);
    }
}
