//! The real server as a process of its own, and a plain client of its socket.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::child::{EndsWithTest as _, Signal};

pub use super::times::{in_millis, millis};

/// How long anything may take that is waited for. A bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server in a folder of its own; killed when dropped.
pub struct Server {
    data: PathBuf,
    child: Child,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

/// An answer: status, head as text, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status, and the fields that the answer names; it has to be a problem document that says what to do.
    pub fn problem(&self) -> (u16, Vec<String>) {
        assert!(
            self.head.contains("content-type: application/problem+json\r\n"),
            "{}{}",
            self.head,
            self.text()
        );
        let document = self.json();
        assert_eq!(document["status"], self.status, "{document}");
        for member in ["type", "title", "detail"] {
            assert!(
                document[member].as_str().is_some_and(|text| !text.is_empty()),
                "{document}"
            );
        }
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        let field = |error: &Value| {
            assert!(
                error["rule"].as_str().is_some_and(|rule| !rule.is_empty()),
                "{document}"
            );
            error["field"].as_str().unwrap().to_owned()
        };
        (self.status, errors.iter().map(field).collect())
    }
}

impl Server {
    /// Starts `serve --dev --no-listen` on a data folder and waits until it is ready.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &["--no-listen"], &[])
    }

    /// The same with other arguments and environment; with `--no-listen` only if the arguments say so.
    pub fn start_with(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_guarded(data, &[&["--dev"], arguments].concat(), environment)
    }

    /// The same without `--dev`: with the address rules of production, unless the arguments say so.
    pub fn start_guarded(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut server = Self::spawn(data, arguments, environment);
        server.wait_ready();
        server
    }

    /// Starts `serve --dev --no-listen` with a stderr of its own, without waiting.
    pub fn spawn_logging_to(data: &Path, stderr: impl Into<Stdio>) -> Self {
        let arguments = ["--dev", "--no-listen"].map(ToOwned::to_owned).to_vec();
        let mut command = command(data, &arguments, &[]);
        Self {
            data: data.to_owned(),
            child: command.stderr(stderr).spawn().unwrap(),
            environment: Vec::new(),
            arguments,
        }
    }

    /// Starts `serve --dev` with a limit on its file descriptors, soft and hard, and waits until it is ready.
    pub fn start_limited(
        data: &Path,
        descriptors: u32,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let arguments: Vec<String> = [&["--dev"], arguments]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect();
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let server = command(data, &arguments, &environment);
        let mut limited = Command::new("sh");
        limited
            .arg("-c")
            .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
            .arg(server.get_program())
            .args(server.get_args())
            .envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdout(append(stdout_path(data, &arguments)))
            .stderr(append(log_path(data, &arguments)))
            .stdin(Stdio::null())
            .ends_with_test(Signal::KILL);
        let mut server = Self {
            data: data.to_owned(),
            child: limited.spawn().unwrap(),
            environment,
            arguments,
        };
        server.wait_ready();
        server
    }

    /// Starts it without waiting.
    pub fn spawn(data: &Path, arguments: Vec<String>, environment: Vec<(String, String)>) -> Self {
        Self {
            data: data.to_owned(),
            child: spawn(data, &arguments, &environment),
            environment,
            arguments,
        }
    }

    /// Starts it, or says how it ended and what it said when it did not come up.
    pub fn start_or_end(
        data: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, (ExitStatus, String)> {
        let arguments: Vec<String> = [&["--dev"], arguments]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect();
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut child = spawn(data, &arguments, &environment);
        let status = wait_for("the server to be ready or to end", || {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(Some(status));
            }
            let ready = raw(
                &data.join("posthaste.sock"),
                b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            );
            ready.is_ok_and(|answer| answer.status == 200).then_some(None)
        });
        let server = Self {
            data: data.to_owned(),
            child,
            environment,
            arguments,
        };
        match status {
            None => Ok(server),
            Some(status) => Err((status, server.log())),
        }
    }

    pub fn socket(&self) -> PathBuf {
        socket_given(&self.arguments).unwrap_or_else(|| self.data.join("posthaste.sock"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server wrote to stderr, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(&self.data, &self.arguments)).unwrap_or_default()
    }

    /// What the server wrote to stdout, over all its lives.
    pub fn stdout(&self) -> String {
        fs::read_to_string(stdout_path(&self.data, &self.arguments)).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// `kill -9`, without waiting.
    pub fn shoot(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGSTOP, and waits until no thread of it runs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        wait_for("the server to stand still", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let mut states = threads.map(|thread| {
                let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                stat.rsplit(") ").next().unwrap().starts_with('T')
            });
            states.all(|is_stopped| is_stopped).then_some(())
        });
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether the process has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().unwrap())
    }

    /// Starts it again on the same folder, with the same arguments, and waits until it is ready.
    pub fn restart(&mut self) {
        self.respawn();
        self.wait_ready();
    }

    /// Starts it again without waiting.
    pub fn respawn(&mut self) {
        self.child = spawn(&self.data, &self.arguments, &self.environment);
    }

    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Waits until `/readyz` says 200.
    pub fn wait_ready(&mut self) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            if let Ok(answer) = self.try_request("GET", "/readyz", None, b"")
                && answer.status == 200
            {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the server is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One request on a connection of its own. `content_type` `None` sends none.
    pub fn request(&self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        self.try_request(method, path, content_type, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// The same, where the server may be gone.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let kind = content_type.map(|kind| format!("content-type: {kind}\r\n"));
        self.try_ask(method, path, &kind.unwrap_or_default(), body)
    }

    /// One request with header lines of its own, each ended by CRLF.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    fn try_ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        raw(&self.socket(), &[head.as_bytes(), body].concat())
    }

    /// POSTs bytes as one JSON event, whatever the answer is.
    pub fn enqueue(&self, document: &[u8]) -> Answer {
        self.request("POST", "/v1/events", Some("application/json"), document)
    }

    /// Waits until the only delivery of an event is in a state.
    pub fn delivery_in(&self, event: &str, state: &str) -> Value {
        wait_for(&format!("a delivery that is {state}"), || {
            let mut deliveries = self.list(&format!("/v1/events/{event}/deliveries"));
            assert!(deliveries.len() <= 1, "{deliveries:?}");
            deliveries.pop().filter(|delivery| delivery["state"] == state)
        })
    }

    /// The attempts made for an event, oldest first.
    pub fn attempts(&self, event: &str) -> Vec<Value> {
        self.list(&format!("/v1/attempts?event={event}&order=asc"))
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, None, b"");
        assert_eq!(
            answer.status,
            200,
            "GET {path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// POSTs JSON, whatever the answer is.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(
            "POST",
            path,
            Some("application/json"),
            body.to_string().as_bytes(),
        )
    }

    /// Creates an endpoint; answers its id.
    pub fn endpoint(&self, document: &Value) -> String {
        let answer = self.post("/v1/endpoints", document);
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Accepts an event; answers its id.
    pub fn event(&self, document: &Value) -> String {
        let answer = self.post("/v1/events", document);
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Every row of a list, all pages.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let more = cursor
                .map(|cursor| format!("&cursor={cursor}"))
                .unwrap_or_default();
            let page = self.get(&format!("{path}{joint}limit=500{more}"));
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                None => return rows,
                Some(next) => cursor = Some(next.to_owned()),
            }
        }
    }

    /// Runs `posthaste check` on the folder of the server, which must have stopped; answers what it said and how it
    /// ended.
    pub fn check(&self) -> (String, ExitStatus) {
        let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(["check", "--data"])
            .arg(&self.data)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text + &String::from_utf8_lossy(&output.stderr), output.status)
    }

    /// Fails the test if `posthaste check` finds anything in the folder of the server, which must have stopped.
    pub fn assert_whole(&self) {
        let (text, status) = self.check();
        assert!(
            status.success(),
            "check ended with {status}: {text}\n{}",
            self.log()
        );
    }

    /// Runs the command-line client against this server; answers stdout and the exit status.
    pub fn cli(&self, arguments: &[&str]) -> (String, ExitStatus) {
        let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .env("POSTHASTE_SOCKET", self.socket())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text + &String::from_utf8_lossy(&output.stderr), output.status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn socket_given(arguments: &[String]) -> Option<PathBuf> {
    let mut given = arguments.iter().skip_while(|argument| *argument != "--socket");
    given.nth(1).map(PathBuf::from)
}

/// Beside the data folder, or beside the socket when that is somewhere else.
fn log_path(data: &Path, arguments: &[String]) -> PathBuf {
    socket_given(arguments)
        .unwrap_or_else(|| data.to_owned())
        .with_extension("log")
}

fn stdout_path(data: &Path, arguments: &[String]) -> PathBuf {
    log_path(data, arguments).with_extension("out")
}

const STORE_BUFFER: &str = "POSTHASTE_STORAGE__STORE_BUFFER_BYTES";

fn spawn(data: &Path, arguments: &[String], environment: &[(String, String)]) -> Child {
    command(data, arguments, environment).spawn().unwrap()
}

fn command(data: &Path, arguments: &[String], environment: &[(String, String)]) -> Command {
    // Another program is run where a folder of its format is to be made.
    let program = std::env::var_os("POSTHASTE_TEST_PROGRAM");
    // What an ordinary day writes to the store within minutes, a test is to write within moments.
    let small = program.is_none().then_some((STORE_BUFFER, "16KiB"));
    let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_posthaste").into()));
    command
        .args(["serve", "--data"])
        .arg(data)
        .args(arguments)
        .envs(small)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(append(stdout_path(data, arguments)))
        .stderr(append(log_path(data, arguments)))
        .stdin(Stdio::null())
        .ends_with_test(Signal::KILL);
    command
}

fn append(path: PathBuf) -> fs::File {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// Sends bytes as they are on a connection to a socket, and reads one answer.
pub fn raw(socket: &Path, bytes: &[u8]) -> std::io::Result<Answer> {
    raw_within(socket, bytes, PATIENCE)
}

/// The same with a bound of its own on the wait for each piece of the answer.
pub fn raw_within(socket: &Path, bytes: &[u8], patience: Duration) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    // The server may answer, and close, before it has read everything.
    let written = stream.write_all(bytes);
    let answer = read_answer(&mut BufReader::new(stream));
    if answer.is_err() {
        written?;
    }
    answer
}

/// Reads an answer that has a content length, or ends with its connection.
pub fn read_answer(reader: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => _ = reader.take(length).read_to_end(&mut body)?,
        None => _ = reader.read_to_end(&mut body)?,
    }
    Ok(Answer { status, head, body })
}

/// Waits until `lacking` finds nothing any more, or patience ends; answers what it last found.
pub fn wait_for_all<T>(mut lacking: impl FnMut() -> Vec<T>) -> Vec<T> {
    let started = Instant::now();
    loop {
        let lack = lacking();
        if lack.is_empty() || started.elapsed() >= PATIENCE {
            return lack;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
