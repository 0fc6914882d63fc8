//! The receiving half of this program proves itself to the sending half.

use super::*;
use crate::support::listener::Listener;

#[test]
fn what_listens_proves_itself_by_every_handshake_and_is_delivered_to() {
    let (_dir, server) = started();
    for (handshake, scheme, secret) in [
        ("ping", "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("ziggeo", "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("zoom", "zoom", "the secret"),
        ("slack", "slack", "the secret"),
        (
            "cloudevents",
            "standard",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
        (
            "microsoft-graph",
            "standard",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::start(folder.path(), &["--scheme", scheme, "--secret", secret]);
        let id = server.endpoint(&json!({
            "url": listener.url(), "handshake": handshake, "events": [format!("for.{scheme}")],
            "signatures": [{"scheme": scheme, "secret": secret}], "rate": {"per_second": 100},
        }));
        let verified = in_state(&server, &id, "active");
        assert_eq!(verified["verification"]["state"], "verified", "{handshake}");
        let deleted = |id: &str| {
            server
                .request("DELETE", &format!("/v1/endpoints/{id}"), None, b"")
                .status
        };
        let event = server.event(&json!({"type": format!("for.{scheme}"), "data": {"n": 1}}));
        server.delivery_in(&event, "delivered");
        assert_eq!(deleted(&id), 204);
    }
}

#[test]
fn what_listens_with_another_secret_does_not_prove_that_it_knows_zoom_s() {
    let (_dir, server) = started();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--scheme", "zoom", "--secret", "another"]);
    let id = server.endpoint(&json!({
        "url": listener.url(), "profile": "zoom", "signatures": [{"scheme": "zoom", "secret": "the secret"}],
    }));
    let failed = verification_in(&server, &id, "failed");
    assert_eq!(
        (&failed["state"], &failed["verification"]["last_error"]["status"]),
        (&json!("unverified"), &json!(401))
    );
}
