//! The pages of docs/profiles: their `sh` blocks are run in order, as one script, with the receiver of the page beside them,
//! and what a page shows of a request is what the program makes.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::support::child::{EndsWithTest as _, Signal};
use crate::{
    docs::{blocks, read, shell},
    support::server::{Server, wait_for},
};

const PORT: &str = "9000";

/// A program of ours that runs beside the test; asked to end when dropped.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts the page's receiver on a port of its own; answers the port that it took.
fn listen(folder: &Path, block: &str) -> (Beside, String) {
    let log = folder.join("listen.log");
    let line = block.replace(PORT, "0");
    let child = shell(folder, &format!("exec {line}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .ends_with_test(Signal::TERM)
        .spawn()
        .unwrap();
    let beside = Beside(child);
    let port = wait_for("the receiver's address", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let rest = text.split("listening on http://127.0.0.1:").nth(1)?;
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        rest.len().gt(&port.len()).then_some(port)
    });
    (beside, port)
}

fn walk(page: &str, events: &[&str]) {
    let text = read(&format!("docs/profiles/{page}.md"));
    let (receivers, commands): (Vec<_>, Vec<_>) = blocks(&text, "sh")
        .into_iter()
        .partition(|block| block.starts_with("posthaste listen "));
    assert!(receivers.len() == 1 && commands.len() >= 3, "{commands:#?}");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("posthaste-data"));
    let (_beside, port) = listen(folder.path(), &receivers[0]);
    let script = commands.join("\n").replace(PORT, &port);
    let done = shell(folder.path(), &script).output().unwrap();
    let told = format!(
        "{}\n{}\n{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
        server.log()
    );
    assert!(done.status.success(), "{told}");
    for event_type in events {
        wait_for(&format!("{event_type} delivered"), || {
            let found = server.list(&format!("/v1/attempts?type={event_type}&outcome=delivered"));
            (!found.is_empty()).then_some(())
        });
    }
    // The request that a page shows has the names and the shape of the one that was previewed.
    let printed = String::from_utf8_lossy(&done.stdout).replace("\r\n", "\n");
    for shown in blocks(&text, "http") {
        let names = shown.lines().skip(1).take_while(|line| !line.is_empty());
        for name in names
            .filter_map(|line| line.split_once(": "))
            .map(|(name, _)| name)
        {
            assert!(
                printed.contains(&format!("\n{name}: ")),
                "{name} is not in\n{printed}"
            );
        }
        let body = shown.split_once("\n\n").unwrap().1;
        let shape = |text: &str| {
            let digits = |letter: char| if letter.is_ascii_digit() { '0' } else { letter };
            text.trim_end().chars().map(digits).collect::<String>()
        };
        assert!(
            shape(&printed).contains(&shape(body)),
            "{body}\nis not in\n{printed}"
        );
    }
}

#[test]
fn the_page_of_zoom_works() {
    walk("zoom", &["meeting.started"]);
}

#[test]
fn the_page_of_ziggeo_works() {
    walk("ziggeo", &["video_ready", "video_deleted"]);
}

#[test]
fn the_page_of_vidizmo_works() {
    walk("vidizmo", &["video.published", "user.added"]);
}

#[test]
fn the_page_of_ziwo_works() {
    walk("ziwo", &["ringing", "agent-connected"]);
}

#[test]
fn the_page_of_flowplayer_works() {
    walk("flowplayer", &["VIDEO_READY"]);
}

/// The table of the overview names every profile that is built in, and no other.
#[test]
fn the_overview_names_every_profile() {
    let text = read("docs/profiles/README.md");
    let listed: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('`').nth(1).map(ToOwned::to_owned))
        .collect();
    let mut known: Vec<String> = posthaste::domain::profile::Profiles::default()
        .names()
        .map(ToString::to_string)
        .collect();
    let mut sorted = listed.clone();
    sorted.sort();
    known.sort();
    assert_eq!(sorted, known);
}

/// What a page says of custom profiles can be read as a configuration.
#[test]
fn the_profile_of_the_overview_is_a_configuration() {
    let text = read("docs/profiles/README.md");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("posthaste.toml");
    fs::write(&file, blocks(&text, "toml").join("\n")).unwrap();
    let server = Server::start_with(
        &folder.path().join("data"),
        &["--no-listen", "--config", file.to_str().unwrap()],
        &[],
    );
    let made = server.post(
        "/v1/endpoints",
        &serde_json::json!({"url": "https://h.test/", "profile": "acme"}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let schemes: Vec<Value> = made.json()["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| signature["scheme"].clone())
        .collect();
    assert_eq!(schemes, ["github", "standard"]);
    assert_eq!(made.json()["disable_on"], "any_non_transient");
}
