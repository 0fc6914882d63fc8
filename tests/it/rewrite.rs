//! The store is written afresh while the server works.

use serde_json::json;

use crate::support::{
    server::{Server, wait_for},
    sink::Sink,
};

fn rewrites(server: &Server) -> u64 {
    let metrics = server.request("GET", "/metrics", None, b"").text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("posthaste_store_rewrites_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_store_that_has_grown_is_written_afresh_under_load_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_STORAGE__STORE_REWRITE_BYTES", "1MiB")];
    let mut server = Server::start_with(&folder.path().join("data"), &["--no-listen"], &environment);
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url()}));
    server.endpoint(&json!({"url": sink.url(), "events": ["b"], "enabled": false}));
    let mut sent = 0u64;
    let mut send = |count: u64| {
        // Ids in no order: each lies in another page, which is written anew for it.
        let event = |number: u64| {
            let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let event_type = if number.is_multiple_of(2) { "a" } else { "b" };
            json!({"id": format!("{id:016x}"), "type": event_type, "data": number})
        };
        let lines: String = (sent..sent + count)
            .map(|number| event(number).to_string() + "\n")
            .collect();
        // What has an id is looked up, and while the two stores change places nobody can: it is handed over again.
        wait_for("a batch to be taken", || {
            let kind = Some("application/x-ndjson");
            let answer = server.request("POST", "/v1/events", kind, lines.as_bytes());
            let taken = answer.status == 202 && !answer.text().contains("\"status\":503");
            assert!(taken || [202, 503].contains(&answer.status), "{}", answer.text());
            taken.then_some(())
        });
        sent += count;
    };
    send(2000);
    wait_for("a rewrite", || {
        send(10);
        (rewrites(&server) > 0).then_some(())
    });
    send(1000);
    wait_for("every delivery", || {
        let answer = server.request("GET", "/v1/status", None, b"").json();
        (answer["deliveries"]["delivered"] == sent).then_some(())
    });
    let status = server.get("/v1/status");
    assert_eq!(status["events"], sent);
    assert_eq!(status["deliveries"]["held"], sent / 2);
    assert_eq!(status["store"]["rebuilds"], 0, "{}", server.log());
    server.kill();
    server.restart();
    assert_eq!(server.get("/v1/status")["deliveries"]["delivered"], sent);
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
    for gone in ["store.new", "store.old"] {
        assert!(!folder.path().join("data").join(gone).exists());
    }
}
