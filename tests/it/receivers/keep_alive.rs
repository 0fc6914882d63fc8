//! Connections that are kept, and their ends.

use std::{
    io::{Read, Write},
    time::Duration,
};

use posthaste::{
    domain::outcome::Fault,
    sender::{Sender, SenderOptions},
};
use tokio::io::AsyncWriteExt;

use super::{LONG, closing_after, dev, fault, send, status};
use crate::support::receiver::{Receiver, read_request};

#[tokio::test]
async fn an_open_connection_is_used_again() {
    let receiver = closing_after(101).await;
    let sender = Sender::new(dev());
    for number in 0..100 {
        let exchange = send(&sender, &receiver.url("/")).await;
        assert_eq!(status(&exchange), Some((200, false)));
        assert_eq!(exchange.timing.connect.is_some(), number == 0);
    }
    assert_eq!(receiver.accepted(), 1);
    assert_eq!(sender.idle_connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_while_idle_is_replaced_within_the_attempt() {
    let (close, mut closes) = tokio::sync::mpsc::channel::<()>(1);
    let receiver = Receiver::start(move |_, mut stream| {
        let close = close.clone();
        async move {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            drop(stream);
            close.send(()).await.unwrap();
        }
    })
    .await;
    let sender = Sender::new(dev());
    for _ in 0..50 {
        assert_eq!(
            status(&send(&sender, &receiver.url("/")).await),
            Some((200, false))
        );
        closes.recv().await.unwrap();
    }
    assert_eq!(receiver.accepted(), 50);
}

/// The runtime's only thread is held while the receiver closes, so that no task of the sender can have noticed.
#[tokio::test(flavor = "current_thread")]
async fn a_close_that_only_the_kernel_knows_of_is_seen_before_sending() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (go, close) = std::sync::mpsc::channel::<()>();
    let (closed, closes) = std::sync::mpsc::channel();
    let receiver = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .unwrap();
            close.recv().unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let sender = Sender::new(dev());
    for _ in 0..3 {
        assert_eq!(status(&send(&sender, &url).await), Some((200, false)));
        go.send(()).unwrap();
        closes.recv().unwrap();
    }
    receiver.join().unwrap();
}

#[tokio::test]
async fn a_request_that_was_written_is_never_sent_again() {
    let receiver = Receiver::start(|number, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(number, 0, "a second connection was made");
        // The second request on this connection is read and left without an answer.
        read_request(&mut stream).await;
    })
    .await;
    let sender = Sender::new(dev());
    assert_eq!(
        status(&send(&sender, &receiver.url("/")).await),
        Some((200, false))
    );
    assert_eq!(
        fault(&send(&sender, &receiver.url("/")).await),
        Some(Fault::ClosedEarly)
    );
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn idle_connections_are_bounded_in_number_and_closed_in_time() {
    let receivers = [
        closing_after(9).await,
        closing_after(9).await,
        closing_after(9).await,
    ];
    let options = SenderOptions {
        max_idle: 2,
        idle_timeout: Duration::from_millis(100),
        ..dev()
    };
    let sender = Sender::new(options);
    for receiver in &receivers {
        send(&sender, &receiver.url("/")).await;
        assert!(sender.idle_connections() <= 2);
    }
    let emptied = async {
        while sender.idle_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, emptied).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_never_idle_is_replaced_at_its_age() {
    let receiver = closing_after(usize::MAX).await;
    let age = Duration::from_millis(200);
    let options = SenderOptions {
        max_connection_age: age,
        ..dev()
    };
    let sender = Sender::new(options);
    let started = std::time::Instant::now();
    while receiver.accepted() < 4 {
        let opened = receiver.accepted();
        let exchange = send(&sender, &receiver.url("/")).await;
        assert_eq!(status(&exchange), Some((200, false)));
        assert_eq!(exchange.timing.connect.is_some(), receiver.accepted() > opened);
        assert!(started.elapsed() < LONG, "it is used for ever");
    }
    // Three ages have passed, and no more connections were made than that.
    assert!(started.elapsed() >= 3 * age);
    let kept = Sender::new(dev());
    for _ in 0..20 {
        send(&kept, &receiver.url("/")).await;
    }
    assert_eq!(receiver.accepted(), 5);
}

#[tokio::test]
async fn a_closed_sender_sends_nothing_more() {
    let receiver = closing_after(9).await;
    let sender = Sender::new(dev());
    send(&sender, &receiver.url("/")).await;
    sender.close().await;
    assert_eq!(sender.idle_connections(), 0);
    assert_eq!(
        fault(&send(&sender, &receiver.url("/")).await),
        Some(Fault::Interrupted)
    );
    assert_eq!(receiver.accepted(), 1);
}
