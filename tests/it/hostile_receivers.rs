//! Receivers that misbehave, through the whole server: each attempt is judged as the table says, memory stays bounded,
//! and other deliveries go on.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    receiver::{Receiver, drain, read_request},
    server::{Server, wait_for},
    sink::Sink,
};

/// Memory that the server may hold at any time, in KiB: a debug build with its cache, and no gigabyte.
const MEMORY_KIB: u64 = 150 * 1024;

/// What is expected of each attempt: outcome, reason, status, and whether the body broke off.
type Expected = (&'static str, &'static str, Option<u16>, bool);

struct Hostile {
    name: &'static str,
    receiver: Receiver,
    expected: Expected,
}

/// Reads a request, then writes these bytes and hangs.
async fn hanging_after(bytes: &'static str) -> Receiver {
    Receiver::start(move |_, mut stream| async move {
        read_request(&mut stream).await;
        _ = stream.write_all(bytes.as_bytes()).await;
        pending::<()>().await;
    })
    .await
}

/// Reads a request, then writes `head`, and after it a byte a second.
async fn dripping(head: &'static str) -> Receiver {
    Receiver::start(move |_, mut stream| async move {
        read_request(&mut stream).await;
        let mut written = stream.write_all(head.as_bytes()).await;
        while written.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            written = stream.write_all(b"H").await;
        }
    })
    .await
}

/// Reads a request, then writes `head` and a gigabyte of `piece`; counts the bytes that were taken.
async fn endless(head: &'static str, piece: &'static str, taken: Arc<AtomicU64>) -> Receiver {
    let piece: Arc<[u8]> = piece.repeat(64 * 1024 / piece.len()).into_bytes().into();
    Receiver::start(move |_, mut stream| {
        let (taken, piece) = (taken.clone(), piece.clone());
        async move {
            read_request(&mut stream).await;
            _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..16 * 1024 {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    })
    .await
}

async fn resetting() -> Receiver {
    Receiver::start(|_, mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await
}

/// Answers a 200 that promises more than comes before the reset.
async fn resetting_in_the_body() -> Receiver {
    Receiver::start(|_, mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            .await;
        stream.set_zero_linger().unwrap();
    })
    .await
}

async fn closing_at_once() -> Receiver {
    Receiver::start(|_, mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        _ = stream.shutdown().await;
        drain(&mut stream).await;
    })
    .await
}

const PROTOCOL: Expected = ("transient", "protocol", None, false);
const TIMEOUT: Expected = ("transient", "timeout_total", None, false);

async fn slow_ones() -> Vec<Hostile> {
    let hostile = |name, receiver, expected| Hostile {
        name,
        receiver,
        expected,
    };
    vec![
        hostile("says_nothing", hanging_after("").await, TIMEOUT),
        hostile(
            "hangs_in_the_head",
            hanging_after("HTTP/1.1 200 OK\r\nx-a: ").await,
            TIMEOUT,
        ),
        hostile(
            "hangs_in_the_body",
            hanging_after("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await,
            ("delivered", "status", Some(200), true),
        ),
        hostile(
            "hangs_in_a_refusal",
            hanging_after("HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\nhalf").await,
            ("transient", "status", Some(503), true),
        ),
        hostile("drips_the_head", dripping("").await, TIMEOUT),
        hostile(
            "drips_the_body",
            dripping("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await,
            ("delivered", "status", Some(200), true),
        ),
    ]
}

async fn broken_ones(taken: &Arc<AtomicU64>) -> Vec<Hostile> {
    let hostile = |name, receiver, expected| Hostile {
        name,
        receiver,
        expected,
    };
    let answers: [(&'static str, &'static str, Expected); 13] = [
        (
            "half_a_head",
            "HTTP/1.1 200 OK\r\ncontent-le",
            ("transient", "closed_early", None, false),
        ),
        ("no_http", "SSH-2.0-OpenSSH_9.6\r\n", PROTOCOL),
        ("http_0_9", "<html>hello</html>\r\n\r\n", PROTOCOL),
        (
            "two_lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            ("delivered", "status", Some(200), true),
        ),
        (
            "negative_length",
            "HTTP/1.1 503 X\r\ncontent-length: -2\r\n\r\nok",
            ("transient", "status", Some(503), true),
        ),
        ("bad_status", "HTTP/1.1 20x OK\r\n\r\n", PROTOCOL),
        (
            "a_bad_header",
            "HTTP/1.1 200 OK\r\nset-cookie: a\x01\r\ncontent-length: 2\r\n\r\nok",
            ("delivered", "status", Some(200), false),
        ),
        (
            "status_101",
            "HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            ("transient", "protocol", Some(101), false),
        ),
        (
            "status_199",
            "HTTP/1.1 199 X\r\ncontent-length: 0\r\n\r\n",
            PROTOCOL,
        ),
        (
            "status_600",
            "HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n",
            ("transient", "protocol", Some(600), false),
        ),
        (
            "status_999",
            "HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
            ("transient", "protocol", Some(999), false),
        ),
        (
            "moved",
            "HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            ("transient", "status", Some(302), false),
        ),
        (
            "bad_chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
            ("delivered", "status", Some(200), true),
        ),
    ];
    let mut found = Vec::new();
    for (name, bytes, expected) in answers {
        found.push(hostile(name, Receiver::answering(bytes).await, expected));
    }
    let gigabyte = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    found.extend([
        hostile("resets", resetting().await, ("transient", "reset", None, false)),
        hostile(
            "resets_in_the_body",
            resetting_in_the_body().await,
            ("delivered", "status", Some(200), true),
        ),
        hostile(
            "closes",
            closing_at_once().await,
            ("transient", "closed_early", None, false),
        ),
        hostile(
            "a_gigabyte",
            endless(gigabyte, "x", taken.clone()).await,
            ("delivered", "status", Some(200), true),
        ),
        hostile(
            "an_endless_head",
            endless("HTTP/1.1 200 OK\r\n", "x-a: b\r\n", taken.clone()).await,
            PROTOCOL,
        ),
        hostile(
            "one_long_line",
            endless("HTTP/1.1 200 OK\r\nx-a: ", "b", taken.clone()).await,
            PROTOCOL,
        ),
    ]);
    found
}

/// Resident memory of the server, now and at its peak, in KiB.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn add(server: &Server, name: &str, url: &str) {
    server.endpoint(&json!({
        "url": url, "name": name, "events": [name, "everyone"], "timeout": "1s", "retry": {"delays": []},
        "disable_on": "never",
    }));
}

fn seen(attempt: &Value) -> (&str, &str, Option<u16>, bool) {
    let status = attempt["status"]
        .as_u64()
        .map(|status| u16::try_from(status).unwrap());
    (
        attempt["outcome"].as_str().unwrap(),
        attempt["reason"].as_str().unwrap(),
        status,
        attempt["body_broken"].as_bool().unwrap(),
    )
}

/// Checks every attempt that was made for events of these types.
fn assert_judged(server: &Server, expected: &BTreeMap<&str, Expected>, each: usize) {
    let attempts = wait_for("every attempt", || {
        Some(server.list("/v1/attempts")).filter(|attempts| {
            let hostile = attempts.iter().filter(|attempt| attempt["event_type"] != "well");
            hostile.count() == expected.len() * each
        })
    });
    for (name, expected) in expected {
        let own: Vec<&Value> = attempts
            .iter()
            .filter(|attempt| attempt["event_type"] == **name)
            .collect();
        assert_eq!(own.len(), each, "{name}");
        for attempt in own {
            assert_eq!(seen(attempt), *expected, "{name}: {attempt}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_misbehaviour_is_judged_by_the_table_while_others_are_served() {
    let taken = Arc::new(AtomicU64::new(0));
    let mut hostile = slow_ones().await;
    hostile.extend(broken_ones(&taken).await);
    tokio::task::block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        server.endpoint(&json!({"url": sink.url(), "events": ["well"]}));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        add(&server, "refuses", &nobody);
        let mut expected = BTreeMap::from([("refuses", ("transient", "refused", None, false))]);
        for Hostile {
            name,
            receiver,
            expected: wanted,
        } in &hostile
        {
            add(&server, name, &receiver.url("/"));
            expected.insert(name, *wanted);
        }
        for _ in 0..3 {
            for name in expected.keys() {
                server.event(&json!({"type": name, "data": {}}));
            }
            server.event(&json!({"type": "well", "data": {}}));
        }
        assert_judged(&server, &expected, 3);
        let well = server.list("/v1/attempts?type=well");
        assert!(
            well.iter().all(|attempt| attempt["outcome"] == "delivered") && well.len() == 3,
            "{well:?}"
        );
        let (peak, taken) = (memory(&server), taken.load(Ordering::Relaxed));
        assert!(peak < MEMORY_KIB, "{peak} KiB at the peak");
        assert!(
            taken < 9 * 16 * 1024 * 1024,
            "{taken} bytes were taken of nine endless answers"
        );
        assert!(!server.log().contains("panic"), "{}", server.log());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_answers_to_many_at_once_stay_within_memory() {
    let taken = Arc::new(AtomicU64::new(0));
    let body = endless(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "1000\r\n",
        taken.clone(),
    )
    .await;
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    let plain = endless(length, "x", taken.clone()).await;
    tokio::task::block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        for (place, receiver) in [&body, &plain].into_iter().cycle().take(20).enumerate() {
            add(&server, &format!("endless-{place}"), &receiver.url("/"));
        }
        for n in 0..10 {
            server.event(&json!({"type": "everyone", "data": n}));
        }
        wait_for("every delivery", || {
            (server.list("/v1/deliveries?state=delivered").len() == 200).then_some(())
        });
        let peak = memory(&server);
        assert!(peak < MEMORY_KIB, "{peak} KiB at the peak");
    });
}
