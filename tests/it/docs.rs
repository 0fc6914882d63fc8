//! What the documents say is what the program does.
//!
//! The `sh` blocks of README.md and of the guides that continue it run in their order, as one script, in an empty folder.
//! The block that starts the server runs beside it, and so do the commands that start a receiver, from where they stand.
//! `cargo run --release --` stands for the program, which is on the path; the ports that the pages use stand for those
//! of the test's own processes. Where curl is missing, the test leaves out the blocks that use it. Commands that cannot
//! be run are in blocks of another language.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use posthaste::domain::outcome::{Class, Fault, status_class};

use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::{
    server::wait_for,
    sink::Sink,
    skip::{Need, skip},
};

/// Pages whose commands are one story.
const PAGES: [&str; 3] = ["README.md", "docs/COMMANDS.md", "docs/OPERATIONS.md"];
/// Where these say that the server listens.
const SERVER: &str = "127.0.0.1:8787";

#[test]
fn every_command_of_the_readme_and_the_guides_works() {
    let story = PAGES.iter().flat_map(|page| blocks(&read(page), "sh"));
    let (servers, commands): (Vec<_>, Vec<_>) = story.partition(|block| block.contains("-- serve"));
    assert!(servers.len() == 1 && commands.len() > 15, "{commands:#?}");
    let folder = tempfile::tempdir().unwrap();
    let _server = Running::start(folder.path(), &as_program(&servers[0]));
    let address = wait_for("the address", || address_in(folder.path()));
    wait_for("the socket", || {
        folder
            .path()
            .join("posthaste-data/posthaste.sock")
            .exists()
            .then_some(())
    });
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        skip(
            Need::Curl,
            "the commands with curl were not run: there is no curl",
        );
    }
    let script: String = commands
        .iter()
        .filter(|block| has_curl || !block.contains("curl "))
        .map(|block| beside(&as_program(block)))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("127.0.0.1:90", "127.0.0.1:$PORT_90")
        .replace(SERVER, &address);
    let script = format!("RECEIVERS=; trap 'kill $RECEIVERS' EXIT TERM\n{script}");
    let done = shell(folder.path(), &script)
        .ends_with_test(Signal::TERM)
        .output()
        .unwrap();
    let told = format!(
        "{}\n{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "{told}");
    let stored = rusqlite::Connection::open(folder.path().join("events.db")).unwrap();
    let rows = "SELECT count(*) FROM events WHERE id = 'call-1' AND verified AND path = '/calls'";
    let count: i64 = stored.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1, "{told}");
    let printed = fs::read_to_string(folder.path().join("listen.9000.out")).unwrap();
    assert!(
        printed.contains("user-7")
            && printed.contains(r#"{"type":"user.created","timestamp":""#)
            && printed.contains(r#","data":{"id": 7, "name": "Ada"}}"#),
        "{printed}"
    );
    is_sent_as_shown(folder.path());
}

/// The request in README.md has the line, the headers and the form of body that a receiver gets.
fn is_sent_as_shown(folder: &Path) {
    let sink = Sink::accepting();
    let script = format!(
        "posthaste endpoint add http://{}/webhooks --events 'shown.*'\n\
         posthaste send shown.here '{{\"id\": 7, \"name\": \"Ada\"}}' --id shown-7",
        sink.address
    );
    let done = shell(folder, &script).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let sent = sink_gets(&sink, "shown-7");
    let page = blocks(&read("README.md"), "http").remove(0);
    let (head, body) = page.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some(&*format!("POST {} HTTP/1.1", sent.path)));
    let shown: BTreeSet<&str> = lines.filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    let got = sent.headers.keys().map(|name| name.as_str());
    let transport = ["host", "content-length"];
    let got: BTreeSet<&str> = got.filter(|name| !transport.contains(name)).collect();
    assert_eq!(shown, got);
    let members = |body: &str| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        (
            body.as_object().unwrap().keys().cloned().collect::<Vec<_>>(),
            body["data"].clone(),
        )
    };
    assert_eq!(members(body), members(&String::from_utf8(sent.body).unwrap()));
}

#[test]
fn the_documents_link_to_what_is_there() {
    let mut pages = vec![
        "README.md".to_owned(),
        "CHANGELOG.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
    ];
    for folder in ["docs", "docs/adr", "docs/profiles"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        pages.extend(
            names
                .filter(|name| name.ends_with(".md"))
                .map(|name| format!("{folder}/{name}")),
        );
    }
    for page in pages {
        let text = read(&page);
        let folder = Path::new(&page).parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !file.is_empty() {
                assert!(
                    root().join(folder).join(file).exists(),
                    "{page} links to {target}"
                );
            }
        }
    }
}

#[test]
fn the_table_of_statuses_is_the_code_s() {
    let rows = table(&read("docs/DELIVERY.md"), "status");
    let listed = |status: u16, cell: &str| {
        cell.split(", ").any(|part| match part.split_once('-') {
            Some((first, last)) => (number(first)..=number(last)).contains(&status),
            None => part == "any other" || part.parse() == Ok(status),
        })
    };
    for status in 0..=999 {
        let row = rows.iter().find(|row| listed(status, &row[0]));
        let row = row.unwrap_or_else(|| panic!("{status} is in no row"));
        assert_eq!(
            (row[1].as_str(), row[2] == "yes"),
            named(status_class(status)),
            "{status}"
        );
    }
}

#[test]
fn the_table_of_faults_is_the_code_s() {
    let rows = table(&read("docs/DELIVERY.md"), "fault");
    let rows: BTreeMap<&str, _> = rows
        .iter()
        .map(|row| {
            (
                row[0].as_str(),
                ((row[1].as_str(), row[2] == "yes"), row[3].as_str()),
            )
        })
        .collect();
    for fault in Fault::ALL {
        let said = (named(fault.class()), fault.explanation());
        assert_eq!(rows.get(fault.as_str()), Some(&said), "{fault:?}");
    }
    assert_eq!(rows.len(), Fault::ALL.len());
}

fn named((class, suspect): (Class, bool)) -> (&'static str, bool) {
    (class.as_str(), suspect)
}

fn number(text: &str) -> u16 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no status"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The rows, cell by cell without back ticks, of the table whose first column is headed so.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let begin = format!("| {head} |");
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        let plain = |cell: &str| cell.replace('`', "").trim().to_owned();
        inner.split('|').map(plain).collect()
    };
    page.lines()
        .skip_while(|line| !line.starts_with(&begin))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// The fenced blocks of a language.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if found == language {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

fn as_program(block: &str) -> String {
    block.replace("cargo run --release --", "posthaste")
}

/// A block whose commands `posthaste listen` run beside what follows, each on any free port, until the script ends.
fn beside(block: &str) -> String {
    let line = |line: &str| match line.strip_prefix("posthaste listen ") {
        None => line.to_owned(),
        Some(arguments) => {
            let (port, options) = arguments.split_at(4);
            let log = format!("listen.{port}.log");
            format!(
                "posthaste listen 0 {options} >listen.{port}.out 2>{log} & RECEIVERS=\"$RECEIVERS $!\"\n\
                 until grep -q 'listening on' {log}; do kill -0 $!; sleep 0.05; done\n\
                 PORT_{port}=$(sed -n 's|.*http://[0-9.]*:\\([0-9]*\\),.*|\\1|p' {log})"
            )
        }
    };
    block.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A shell in a folder, with the program on its path. Stops at the first command that fails.
pub fn shell(folder: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-euxc", script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .stdin(Stdio::null());
    command
}

fn sink_gets(sink: &Sink, event: &str) -> crate::support::sink::Received {
    wait_for("the event", || {
        let received = sink.received();
        received.into_iter().find(|got| got.event_id() == event)
    })
}

/// A server in the background; killed when dropped.
struct Running(Child);

impl Running {
    /// Runs the command in a folder, on any free port.
    fn start(folder: &Path, command: &str) -> Self {
        let mut shell = shell(folder, &format!("exec {command}"));
        shell.env("POSTHASTE_API__LISTEN", "127.0.0.1:0");
        let file = |name: &str| fs::File::create(folder.join(name)).unwrap();
        shell.stdout(file("server.out")).stderr(file("server.log"));
        Self(shell.ends_with_test(Signal::KILL).spawn().unwrap())
    }
}

/// Where the server listens on TCP, once its log says so.
fn address_in(folder: &Path) -> Option<String> {
    let said = fs::read_to_string(folder.join("server.log")).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains("listening") && line.contains("address="))?;
    let address = line.split("address=").nth(1)?;
    Some(address.split_whitespace().next()?.to_owned())
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
