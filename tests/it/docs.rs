//! What the documents say is what the program does.
//!
//! README.md: its `sh` blocks are run in their order, as one script, in an empty folder. The block that starts the
//! server is run beside it, and so is the command that starts a receiver, from where it stands. `cargo run --release --` stands for the program, which is on the path; the addresses
//! that the page uses stand for those of the test's own server and receiver. Where curl is missing, the blocks that
//! use it are left out. What cannot be run is in blocks of another language.

use std::{
    collections::BTreeMap,
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

const RECEIVER: &str = "127.0.0.1:9000";
const LISTENER: &str = "127.0.0.1:9001";
const SERVER: &str = "127.0.0.1:8787";

#[test]
fn every_command_of_the_readme_works() {
    let page = read("README.md");
    let (servers, commands): (Vec<_>, Vec<_>) = blocks(&page, "sh")
        .into_iter()
        .partition(|block| block.contains("-- serve"));
    assert!(servers.len() == 1 && commands.len() > 5, "{commands:#?}");
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::accepting();
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
        .replace(RECEIVER, &sink.address.to_string())
        .replace(LISTENER, "$LISTENER")
        .replace(SERVER, &address);
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
    let sent = sink_gets(&sink, "user-7");
    assert_eq!(sent.path, "/webhooks");
    let body = String::from_utf8(sent.body).unwrap();
    assert!(
        body.starts_with(r#"{"type":"user.created","timestamp":""#)
            && body.ends_with(r#","data":{"id": 7, "name": "Ada"}}"#),
        "{body}"
    );
    for name in ["webhook-timestamp", "webhook-signature", "user-agent", "accept"] {
        assert!(
            page.contains(&format!("\n{name}: ")) && sent.headers.contains_key(name),
            "{name}"
        );
    }
}

#[test]
fn the_documents_link_to_what_is_there() {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
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

/// A block whose command `posthaste listen` runs beside what follows, on any free port, until the script ends.
fn beside(block: &str) -> String {
    let line = |line: &str| match line.strip_prefix("posthaste listen 9001 ") {
        None => line.to_owned(),
        Some(arguments) => format!(
            "posthaste listen 0 {arguments} >listen.out 2>listen.log & trap \"kill $!\" EXIT TERM\n\
             until grep -q 'storing in' listen.log; do kill -0 $!; sleep 0.05; done\n\
             LISTENER=$(sed -n 's|.*http://\\([0-9.:]*\\),.*|\\1|p' listen.log)"
        ),
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
