//! Receiving libraries that nobody here wrote believe what the real server sends, and refuse it changed.
//!
//! `.ci/verifiers` installs them: Python packages in the virtual environment `POSTHASTE_VERIFY_VENV` (by default
//! `target/verify-venv`), npm packages in `POSTHASTE_VERIFY_NODE` (`target/verify-node`). Where they are missing the
//! tests say that they were skipped, and fail where `POSTHASTE_REQUIRE` has `verifiers`.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Received, Sink},
    skip::{Need, skip},
};

/// A server with one endpoint.
struct Sender {
    dir: tempfile::TempDir,
    server: Server,
    sink: Sink,
    endpoint: String,
}

impl Sender {
    fn new(signatures: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        let endpoint = server.endpoint(&json!({
            "url": sink.url(), "envelope": "bare", "signatures": signatures,
        }));
        Self {
            dir,
            server,
            sink,
            endpoint,
        }
    }

    /// Sends an event; the request that comes of it. Its body is an event as Stripe's library reads one.
    fn sent(&self) -> Received {
        let before = self.sink.count();
        let data =
            json!({"id": "evt_7", "object": "event", "type": "invoice.paid", "name": "Žofie ✓ \u{1f4ec}"});
        self.server.event(&json!({"type": "invoice.paid", "data": data}));
        wait_for("the request", || self.sink.received().get(before).cloned())
    }

    fn secret(&self, scheme: &str) -> String {
        let all = self
            .server
            .get(&format!("/v1/endpoints/{}/secret", self.endpoint));
        let signatures = all["signatures"].as_array().unwrap();
        let found = signatures.iter().find(|signature| signature["scheme"] == scheme);
        found.unwrap()["secret"].as_str().unwrap().to_owned()
    }

    /// The secrets before and after a rotation.
    fn rotate(&self, scheme: &str, algorithm: &str) -> [String; 2] {
        let old = self.secret(scheme);
        let answer = self.server.post(
            &format!("/v1/endpoints/{}/secret/rotate", self.endpoint),
            &json!({"scheme": scheme, "algorithm": algorithm}),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        [old, answer.json()["secret"].as_str().unwrap().to_owned()]
    }

    /// Stores a request as a case for a script, with what is to verify it and what is not.
    fn case(&self, name: &str, request: &Received, secret: &str, other: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.json"));
        let headers: Vec<_> = request.headers.iter().collect();
        let body = STANDARD.encode(&request.body);
        let case = json!({"headers": headers, "body_base64": body, "secret": secret, "other_secret": other});
        fs::write(&path, case.to_string()).unwrap();
        path
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `.ci/verifiers` has put something; none, said loudly, where it has not run.
fn installed(variable: &str, folder: &str, file: &str) -> Option<PathBuf> {
    let folder = env::var_os(variable).map_or_else(|| Path::new("target").join(folder), PathBuf::from);
    let folder = root().join(folder);
    if folder.join(file).exists() {
        return Some(folder);
    }
    let missing = format!(
        "{} is missing; .ci/verifiers installs it",
        folder.join(file).display()
    );
    skip(
        Need::Verifiers,
        &format!("no library verified anything: {missing}"),
    );
    None
}

/// Runs a script on cases and asserts that it verified all of them.
fn assert_verified(mut command: Command, cases: &[PathBuf]) {
    let output = command.args(cases).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim() == format!("{} verified", cases.len()),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Has a Python script verify the cases that are made.
fn python(script: &str, cases: impl FnOnce() -> (Sender, Vec<PathBuf>)) {
    let Some(folder) = installed("POSTHASTE_VERIFY_VENV", "verify-venv", "bin/python") else {
        return;
    };
    let (_sender, cases) = cases();
    let mut command = Command::new(folder.join("bin/python"));
    command.arg("-B").arg(root().join("tests/it/verify").join(script));
    assert_verified(command, &cases);
}

/// Has a script for Node verify the cases that are made. It is read from stdin, so that it imports what the folder has.
fn node(script: &str, cases: impl FnOnce() -> (Sender, Vec<PathBuf>)) {
    let package = "node_modules/@zoom/rivet/package.json";
    let Some(folder) = installed("POSTHASTE_VERIFY_NODE", "verify-node", package) else {
        return;
    };
    let (_sender, cases) = cases();
    let mut command = Command::new("node");
    command
        .args(["--input-type=module", "-"])
        .current_dir(folder)
        .stdin(Stdio::from(
            File::open(root().join("tests/it/verify").join(script)).unwrap(),
        ));
    assert_verified(command, &cases);
}

/// A request as it was sent first, and one in the midst of a rotation, to be verified by its new secret and by its old one.
fn sent_and_rotated(scheme: &str, signatures: &Value) -> (Sender, Vec<PathBuf>) {
    let sender = Sender::new(signatures);
    let first = sender.sent();
    let [old, new] = sender.rotate(scheme, "hmac");
    let second = sender.sent();
    let (other, latest) = (format!("{old}-"), second);
    let cases = vec![
        sender.case("first", &first, &old, &new),
        sender.case("by-the-new", &latest, &new, &unknown(scheme, &other)),
        sender.case("by-the-old", &latest, &old, &unknown(scheme, &other)),
    ];
    (sender, cases)
}

/// A secret of a scheme that nobody has.
fn unknown(scheme: &str, raw: &str) -> String {
    match scheme {
        "standard" | "svix" => format!("whsec_{}", STANDARD.encode([9; 32])),
        _ => raw.to_owned(),
    }
}

#[test]
fn standardwebhooks_for_python_believes_what_is_sent() {
    python("with_standardwebhooks.py", || {
        sent_and_rotated("standard", &json!([{"scheme": "standard"}, {"scheme": "github"}]))
    });
}

#[test]
fn standardwebhooks_for_python_passes_over_a_new_ed25519_signature() {
    python("with_standardwebhooks.py", || {
        let sender = Sender::new(&json!([{"scheme": "standard"}]));
        let [old, _] = sender.rotate("standard", "ed25519");
        let case = sender.case("old", &sender.sent(), &old, &unknown("standard", ""));
        (sender, vec![case])
    });
}

#[test]
fn svix_for_python_believes_what_is_sent() {
    python("with_svix.py", || {
        sent_and_rotated("svix", &json!([{"scheme": "svix"}, {"scheme": "standard"}]))
    });
}

#[test]
fn stripe_for_python_believes_what_is_sent() {
    python("with_stripe.py", || {
        sent_and_rotated("stripe", &json!([{"scheme": "stripe"}, {"scheme": "standard"}]))
    });
}

#[test]
fn slack_sdk_for_python_believes_what_is_sent() {
    python("with_slack_sdk.py", || {
        let sender = Sender::new(&json!([{"scheme": "slack"}]));
        let (request, secret) = (sender.sent(), sender.secret("slack"));
        let case = sender.case("slack", &request, &secret, "another");
        (sender, vec![case])
    });
}

#[test]
fn octokit_believes_what_is_sent_as_github() {
    node("with_octokit.mjs", || {
        let sender = Sender::new(&json!([{"scheme": "github", "secret": "It's a Secret to Everybody"}]));
        let request = sender.sent();
        assert_eq!(request.headers["x-github-event"], "invoice.paid");
        let case = sender.case("github", &request, "It's a Secret to Everybody", "another");
        let [_, new] = sender.rotate("github", "hmac");
        let after = sender.case("after", &sender.sent(), &new, "It's a Secret to Everybody");
        (sender, vec![case, after])
    });
}

/// The same facts in spellings that JavaScript does not write.
const SPELLINGS: [&str; 8] = [
    r#"{"object":{"topic":"Weekly"}}"#,
    r#"{"object": {"topic": "Weekly"}}"#,
    "{\n  \"object\": {\n    \"topic\": \"Weekly\"\n  }\n}",
    r#"{"object":{"topic":"caf\u00e9 \ud83e\udda9 \ud83e"}}"#,
    r#"{"object":{"url":"https:\/\/example.com"}}"#,
    r#"{"object":{"duration":60.0,"share":1e-9,"id":9007199254740993}}"#,
    r#"{"b":1,"10":2,"9":3,"b":4}"#,
    "{\"object\":{\"topic\":\"\u{1f9a9} party\"}}",
];

#[test]
fn zoom_s_own_library_believes_every_spelling_of_an_event() {
    node("with_zoom_rivet.mjs", || {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        let secret = "a zoom token";
        let endpoint = server.endpoint(&json!({
            "url": sink.url(), "profile": "zoom", "handshake": "none",
            "signatures": [{"scheme": "zoom", "secret": secret}],
        }));
        let sender = Sender {
            dir,
            server,
            sink,
            endpoint,
        };
        let case = |(number, data): (usize, &&str)| {
            let event = format!("{{\"type\":\"meeting.started\",\"data\":{data}}}");
            assert_eq!(sender.server.enqueue(event.as_bytes()).status, 202, "{data}");
            let request = wait_for("the request", || sender.sink.received().get(number).cloned());
            sender.case(&format!("spelling-{number}"), &request, secret, "another")
        };
        let cases = SPELLINGS.iter().enumerate().map(case).collect();
        (sender, cases)
    });
}

#[test]
fn a_receiver_written_from_flowplayer_s_documentation_believes_what_is_sent() {
    node("flowplayer.mjs", || {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        let endpoint = server.endpoint(&json!({
            "url": sink.url(), "profile": "flowplayer",
            "signatures": [{"scheme": "flowplayer", "secret": "a flowplayer secret"}],
        }));
        let sender = Sender {
            dir,
            server,
            sink,
            endpoint,
        };
        let case = sender.case("flowplayer", &sender.sent(), "a flowplayer secret", "another");
        (sender, vec![case])
    });
}

#[test]
fn node_s_own_ed25519_believes_by_the_public_keys_that_are_given_out() {
    node("ed25519.mjs", || {
        let sender = Sender::new(&json!([{"scheme": "standard", "algorithm": "ed25519"}]));
        let first = sender.sent();
        sender.rotate("standard", "ed25519");
        let path = format!("/v1/endpoints/{}/public-key", sender.endpoint);
        let keys = sender.server.get(&path);
        let key = |place: usize| keys["keys"][place]["public_key"].as_str().unwrap().to_owned();
        let (new, old, second) = (key(0), key(1), sender.sent());
        // Of the point whose key is published with the format's own vector.
        let other = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        let cases = vec![
            sender.case("first", &first, &old, &new),
            sender.case("by-the-new", &second, &new, other),
            sender.case("by-the-old", &second, &old, other),
        ];
        (sender, cases)
    });
}

#[test]
fn standardwebhooks_for_rust_believes_what_is_sent() {
    let sender = Sender::new(&json!([{"scheme": "standard"}]));
    let old = sender.secret("standard");
    let requests = [sender.sent(), {
        sender.rotate("standard", "hmac");
        sender.sent()
    }];
    let new = sender.secret("standard");
    let believes = |secret: &str, request: &Received, body: &[u8]| {
        let headers: HeaderMap = request
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::try_from(value).unwrap(),
                )
            })
            .collect();
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        webhook.verify(body, &headers).is_ok()
    };
    let by = |secret: &str| [0, 1].map(|place| believes(secret, &requests[place], &requests[place].body));
    assert_eq!((by(&old), by(&new)), ([true, true], [false, true]));
    assert!(!believes(&old, &requests[0], b"{}"));
    assert_eq!(by(&unknown("standard", "")), [false, false]);
}
