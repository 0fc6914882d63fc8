//! `posthaste listen` as a process of its own.

use std::{
    fs::{self, File},
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::child::EndsWithTest as _;
use super::server::{Answer, PATIENCE, read_answer, wait_for};

/// A receiver on a port of its own, that prints JSON; killed when dropped.
pub struct Listener {
    pub address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Listener {
    /// Starts it with more arguments, its output in `folder`, and waits until it listens.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_at(folder, "0", arguments)
    }

    /// The same on a port.
    pub fn start_at(folder: &Path, port: &str, arguments: &[&str]) -> Self {
        let append = |name: &str| {
            let path = folder.join(name);
            File::options().create(true).append(true).open(path).unwrap()
        };
        let before = said(folder).len();
        let mut child = command(port, arguments)
            .stdout(append("listen.out"))
            .stderr(append("listen.err"))
            .current_dir(folder)
            .ends_with_test(Signal::KILL)
            .spawn()
            .unwrap();
        let address = wait_for("the receiver", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the receiver ended with {status}: {}", said(folder));
            }
            let said = said(folder);
            let (_, rest) = said[before..].split_once("http://")?;
            rest.split_once(',')?.0.parse().ok()
        });
        Self {
            address,
            folder: folder.to_owned(),
            child,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// What it wrote to stderr, over all its lives in this folder.
    pub fn said(&self) -> String {
        said(&self.folder)
    }

    /// The lines that it has printed whole, over all its lives in this folder.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.printed();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// What it wrote to stdout.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.folder.join("listen.out")).unwrap()
    }

    /// Waits until it has printed so many lines.
    pub fn wait_lines(&self, count: usize) -> Vec<Value> {
        wait_for("lines of the receiver", || {
            Some(self.lines()).filter(|lines| lines.len() >= count)
        })
    }

    /// One request on a connection of its own, with header lines that are each ended by CRLF.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        // It may answer, and close, before it has read everything.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        read_answer(&mut BufReader::new(stream)).unwrap()
    }

    pub fn post(&self, headers: &str, body: &str) -> Answer {
        self.ask("POST", "/in", headers, body.as_bytes())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_for("the receiver to end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `posthaste listen` that prints JSON.
pub fn command(port: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command
        .args(["listen", port, "--output", "json"])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("listen.err")).unwrap_or_default()
}
