//! What matching costs: events accepted with three endpoints, beside ten thousand of which three match.
//!
//! The endpoints that match are paused, so that nothing is delivered. Both servers are there at once and take turns, so
//! that their ratio is one of the same minute.

use serde_json::{Value, json};

use crate::support::{Bench, fill, load, server::Server};

const PAYLOAD: usize = 256;
const CONNECTIONS: usize = 64;
const MATCHING: usize = 3;
/// The contract's number of endpoints.
const ENDPOINTS: usize = 10_000;

pub async fn measure(bench: &mut Bench) {
    let few = with_endpoints(bench, MATCHING, None).await;
    let many = with_endpoints(bench, ENDPOINTS, None).await;
    let asked = with_endpoints(
        bench,
        ENDPOINTS,
        Some("data.text.size() > 100 && type == 'bench.run'"),
    )
    .await;
    for _ in 0..bench.settings.runs {
        let rate = async |server: &Server| {
            let rate = load::enqueue(server, CONNECTIONS, PAYLOAD, bench.run()).await;
            server.settle().await;
            rate
        };
        let (alone, among, conditions) = (rate(&few).await, rate(&many).await, rate(&asked).await);
        bench.add("accepted, os, 3 endpoints, all match", "events/s", alone);
        bench.add("accepted, os, 10,000 endpoints, 3 match", "events/s", among);
        bench.add(
            "accepted, os, 10,000 endpoints, 3 match by condition",
            "events/s",
            conditions,
        );
        bench.add("accepted: 10,000 endpoints / 3 (aim 0.8)", "ratio", among / alone);
        bench.add(
            "accepted: 10,000 with conditions / 3",
            "ratio",
            conditions / alone,
        );
    }
}

/// A server with so many endpoints, of which three want the load's events; the others want types of their own, half of
/// them by a pattern.
async fn with_endpoints(bench: &Bench, count: usize, condition: Option<&str>) -> Server {
    let server = Server::start(&bench.settings, "os").await;
    let documents = (0..count).map(|place| {
        let events = match place {
            0 => json!(["bench.run"]),
            1 => json!(["bench.*", "other.*"]),
            2 => json!(["*"]),
            even if even % 2 == 0 => json!([format!("customer{even}.run")]),
            odd => json!([format!("customer{odd}.**")]),
        };
        let mut document = json!({"url": "http://127.0.0.1:9/", "events": events, "enabled": false});
        if let Some(condition) = condition {
            document["condition"] = Value::from(condition);
        }
        document
    });
    fill::endpoints(&server, documents).await;
    server
}
