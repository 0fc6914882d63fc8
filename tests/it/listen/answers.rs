//! What is answered to validation requests, to other bodies, and to what is no event.

use std::{io::Read as _, process::Stdio};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::{
    listener::{Listener, command},
    server::wait_for,
};

const JSON: &str = "content-type: application/json\r\n";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

fn hmac(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Zoom's headers for a body, signed now.
fn zoom(key: &str, body: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let signature = hmac(key, &format!("v0:{now}:{body}"));
    format!("{JSON}x-zm-request-timestamp: {now}\r\nx-zm-signature: v0={signature}\r\n")
}

#[test]
fn zooms_validation_is_answered_to_zoom_alone_and_its_events_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(
        folder.path(),
        &["--scheme", "zoom", "--secret", "secret", "--store", "got.db"],
    );
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1}"#;
    let answer = listener.post(&zoom("secret", body), body);
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: application/json\r\n"),
        "{}",
        answer.head
    );
    let token = "72cef096bfd47c0b8664df30d07721641e4abd7e885ba432204260db477a9a3e";
    assert_eq!(
        answer.json(),
        json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": token})
    );
    let forged = listener.post(&zoom("guess", body), body);
    assert_eq!(forged.status, 401);
    assert!(!forged.text().contains("encryptedToken"));
    let event = r#"{"event":"meeting.started","payload":{"object":{"id":"1"}},"event_ts":1614265330120}"#;
    for _ in 0..2 {
        assert_eq!(listener.post(&zoom("secret", event), event).status, 200);
    }
    let lines = listener.wait_lines(4);
    assert_eq!(
        (&lines[0]["handshake"], &lines[0]["body"]),
        (&json!("zoom"), &Value::Null)
    );
    assert_eq!(
        (&lines[2]["type"], &lines[3]["repeat"]),
        (&json!("meeting.started"), &json!(true))
    );
    assert_eq!(count(&folder.path().join("got.db")), 1);
}

#[test]
fn the_other_validations_are_answered_as_their_senders_want() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(
        folder.path(),
        &["--status", "500", "--delay", "1h", "--store", "got.db"],
    );
    let slack = listener.post(
        JSON,
        r#"{"token":"t","challenge":"3eZbrw1aB10FEMAGAZd4FyFQ","type":"url_verification"}"#,
    );
    assert_eq!(
        (slack.status, slack.json()),
        (200, json!({"challenge": "3eZbrw1aB10FEMAGAZd4FyFQ"}))
    );
    let first = r#"{"ziggeo_validation":true,"message":"Hi! We're just verifying that the url exists."}"#;
    assert_eq!(listener.post(JSON, first).status, 200);
    let code = listener.post(
        FORM,
        "ziggeo_validation=true&validation_code=123456&webhook_id=w1",
    );
    assert_eq!(
        (code.status, code.json()),
        (200, json!({"webhook_id": "w1", "validation_code": "123456"}))
    );
    let asked = "webhook-request-origin: sender.test\r\nwebhook-request-rate: 120\r\n";
    let cloud = listener.ask("OPTIONS", "/in", asked, b"");
    assert_eq!(cloud.status, 200);
    assert!(
        cloud.head.contains("webhook-allowed-origin: sender.test\r\n"),
        "{}",
        cloud.head
    );
    assert!(
        cloud.head.contains("webhook-allowed-rate: 120\r\n"),
        "{}",
        cloud.head
    );
    let graph = listener.ask("POST", "/in?validationToken=Validation%3A+a%2Bb", "", b"");
    assert_eq!((graph.status, graph.text().as_str()), (200, "Validation: a+b"));
    assert!(graph.head.contains("content-type: text/plain"), "{}", graph.head);
    let lines = listener.wait_lines(5);
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["handshake"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["slack", "ziggeo", "ziggeo", "cloudevents", "microsoft-graph"]
    );
    assert_eq!(count(&folder.path().join("got.db")), 0);
}

#[test]
fn forms_xml_and_bytes_are_stored_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(
        folder.path(),
        &["--scheme", "none", "--store", "got.db", "--table", "calls"],
    );
    let xml = "<event><type>ended</type></event>";
    let long = "x".repeat(300 * 1024);
    let bodies: [(&str, &[u8]); 5] = [
        (FORM, b"event_type=video_ready&data%5Btoken%5D=abc"),
        ("content-type: application/xml\r\n", xml.as_bytes()),
        ("", b"\xff\xfe\0"),
        (JSON, b"{\"a\":\"\\u0000\", \"n\": 1e400}"),
        ("", long.as_bytes()),
    ];
    for (headers, body) in bodies {
        let headers = format!("{headers}authorization: Basic aHVudGVyMg==\r\n");
        assert_eq!(listener.ask("POST", "/in?kind=1", &headers, body).status, 200);
    }
    let connection = Connection::open(folder.path().join("got.db")).unwrap();
    let mut select = connection
        .prepare("SELECT payload, body, type, path, headers, verified FROM calls ORDER BY rowid")
        .unwrap();
    let mut rows = select.query([]).unwrap();
    for (number, (_, body)) in bodies.iter().enumerate() {
        let row = rows.next().unwrap().unwrap();
        assert_eq!(row.get::<_, Vec<u8>>(1).unwrap(), *body);
        let payload: Option<String> = row.get(0).unwrap();
        assert_eq!(payload.as_deref(), std::str::from_utf8(body).ok());
        let event_type: Option<String> = row.get(2).unwrap();
        let types = [Some("video_ready"), Some("ended"), None, None, None];
        assert_eq!(event_type.as_deref(), types[number]);
        assert_eq!(row.get::<_, String>(3).unwrap(), "/in?kind=1");
        assert!(!row.get::<_, String>(4).unwrap().contains("aHVudGVyMg"));
        assert!(!row.get::<_, bool>(5).unwrap());
    }
    assert!(!listener.printed().contains("aHVudGVyMg"));
}

#[test]
fn what_is_no_event_is_refused_by_its_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--max-body", "1KiB"]);
    let get = listener.ask("GET", "/", "", b"");
    assert_eq!(get.status, 405);
    assert!(get.head.contains("allow: post, options\r\n"), "{}", get.head);
    assert_eq!(listener.post("", &"x".repeat(1025)).status, 413);
    assert_eq!(listener.post("", &"x".repeat(1024)).status, 200);
    let lines = listener.wait_lines(3);
    assert!(
        lines[1]["why"].as_str().unwrap().contains("--max-body"),
        "{}",
        lines[1]
    );
}

#[test]
fn it_ends_when_nobody_reads_what_it_prints() {
    let mut child = command("0", &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    let address = line.split_once("http://").unwrap().1.split_once(',').unwrap().0;
    // A process that another test is just starting may hold the other end for a moment, and a line still finds room.
    let status = wait_for("the end", || {
        if let Ok(mut stream) = std::net::TcpStream::connect(address) {
            let post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
            _ = std::io::Write::write_all(&mut stream, post);
        }
        child.try_wait().unwrap()
    });
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains(" calls, "), "{rest}");
}

fn count(path: &std::path::Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    let mut select = connection.prepare("SELECT count(*) FROM events").unwrap();
    select.query_row([], |row| row.get(0)).unwrap()
}
