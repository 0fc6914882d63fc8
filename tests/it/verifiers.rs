//! Libraries that nobody here wrote read what the real server sends.
//!
//! `.ci/verifiers` installs them into the virtual environment `POSTHASTE_VERIFY_VENV` (by default `target/verify-venv`). Where
//! it is missing the tests say that they were skipped, and fail where `POSTHASTE_REQUIRE` has `verifiers`. A script
//! reads requests from files of JSON, as a receiver would have stored them, and says how many it verified; each script
//! also sees to it that a changed copy is not taken for the real one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Received, Sink},
    skip::{Need, skip},
};

/// The Python of the virtual environment, ready to run a script; none, said loudly, where it is not installed.
fn python(script: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder =
        env::var_os("POSTHASTE_VERIFY_VENV").map_or_else(|| "target/verify-venv".into(), PathBuf::from);
    let python = root.join(folder).join("bin/python");
    if python.exists() {
        let mut command = Command::new(python);
        command.arg("-B").arg(root.join("tests/it/verify").join(script));
        return Some(command);
    }
    let missing = format!("{} is missing; .ci/verifiers installs it", python.display());
    skip(Need::Verifiers, &format!("no library read anything: {missing}"));
    None
}

/// What a script printed; it has to end well.
fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Hands a request of the SDK's over as it is; answers the event's id.
fn hand_over(server: &Server, request: &Value) -> String {
    let fields = request["headers"].as_object().unwrap();
    let headers: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap()))
        .collect();
    let body = STANDARD.decode(request["body_base64"].as_str().unwrap()).unwrap();
    let answer = server.ask("POST", "/v1/events", &headers, &body);
    assert!(
        [200, 202].contains(&answer.status),
        "{request}: {}",
        answer.text()
    );
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Stores what a receiver got, with what a script is to find in it.
fn stored(folder: &Path, name: &str, received: &Received, event: &Value) -> PathBuf {
    let path = folder.join(format!("{name}.json"));
    let headers: Vec<_> = received.headers.iter().collect();
    let body = STANDARD.encode(&received.body);
    let case = json!({"headers": headers, "body_base64": body, "event": event});
    fs::write(&path, case.to_string()).unwrap();
    path
}

#[test]
fn the_sdk_reads_the_events_that_it_made() {
    let (Some(mut make), Some(mut check)) = (python("with_cloudevents.py"), python("with_cloudevents.py"))
    else {
        return;
    };
    make.arg("make");
    let made: Vec<Value> = serde_json::from_str(&said(make)).unwrap();
    assert_eq!(made.len(), 12);
    let mut cases = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    for mode in ["binary", "structured"] {
        // Each way in has a server of its own: the same event both ways would be one and its repeat.
        let server = Server::start(&dir.path().join(mode));
        let sinks = ["cloudevents", "cloudevents-binary"].map(|envelope| (envelope, Sink::accepting()));
        for (envelope, sink) in &sinks {
            server.endpoint(&json!({"url": sink.url(), "envelope": envelope}));
        }
        for request in made.iter().filter(|request| request["mode"] == mode) {
            let id = hand_over(&server, request);
            for (envelope, sink) in &sinks {
                let received = wait_for("the request", || {
                    sink.received().into_iter().find(|got| got.event_id() == id)
                });
                let name = format!("{mode}-{envelope}-{}", cases.len());
                cases.push(stored(dir.path(), &name, &received, &request["event"]));
            }
        }
    }
    check.arg("check").args(&cases);
    assert_eq!(said(check).trim(), "24 verified");
}

/// Names and texts that are hard on a form, on XML, or on a parser that knows an older edition of it.
fn hard() -> Value {
    let letters = "ÀÖØöøıĴľŁňŊžΈΊΎΡΣώЁЌЎяёќאתءغفيぁゔァヺ一龥가힣";
    let letters = letters
        .chars()
        .map(|letter| (format!("a{letter}"), json!(letter)));
    let others = [
        "a b",
        "",
        "1",
        "-",
        "a:b",
        "xml",
        "x.y-z_1",
        "a[b]",
        "<\"&'\t\n\r>",
        "\u{0}\u{1b}\u{ffff}",
        "𐀀",
        "a&b=c+%",
    ];
    let others = others.map(|text| (text.to_owned(), json!([text, {text: null}, [], true, 1.5])));
    Value::Object(letters.chain(others).collect())
}

#[test]
fn the_parsers_of_python_read_forms_and_xml() {
    let Some(mut check) = python("with_stdlib.py") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut cases = Vec::new();
    for encoding in ["form", "xml"] {
        let sink = Sink::accepting();
        server.endpoint(
            &json!({"url": sink.url(), "envelope": "bare", "encoding": encoding, "channels": [encoding]}),
        );
        let documents = [hard(), json!({"a": {"b": [hard()]}}), json!([1, "x"]), json!({})];
        for (document, place) in documents.iter().zip(1..) {
            server.event(&json!({"type": "a", "channel": encoding, "data": document}));
            let received = wait_for("the request", || sink.received().get(place - 1).cloned());
            cases.push(stored(
                dir.path(),
                &format!("{encoding}-{place}"),
                &received,
                document,
            ));
        }
    }
    check.args(&cases);
    assert_eq!(said(check).trim(), "8 verified");
}
