//! What the server is asked to do until it is killed, and what has to be there afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::Instant,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    copy,
    tracer::{self, Ended, Point, Scene, Task},
};
use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::{
    server::{Answer, PATIENCE, Server, raw, wait_for},
    sink::Sink,
};

/// Events of one errand, and the bytes of each: more than one segment's.
const EVENTS: u64 = 14;
const FILLER: usize = 6000;

/// A folder that every errand begins from: with an endpoint, some events, and no clean stop.
pub struct Template {
    dir: TempDir,
    endpoint: String,
    sink: Sink,
}

impl Template {
    pub fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let sink = Sink::accepting();
        let environment = [
            ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
            ("POSTHASTE_LIMITS__PAYLOAD", "8KiB"),
        ];
        let mut server = Server::start_with(&data, &["--no-listen"], &environment);
        let endpoint = server.endpoint(&json!({"url": sink.url(), "name": "first", "disable_on": "never"}));
        for number in 0..5 {
            server.event(&event(&format!("template-{number}")));
        }
        wait_for("deliveries", || (sink.count() == 5).then_some(()));
        server.kill();
        Self { dir, endpoint, sink }
    }

    fn has(&self, id: &str) -> bool {
        self.sink.received().iter().any(|got| got.event_id() == id)
    }
}

fn event(id: &str) -> Value {
    json!({"id": id, "type": "a", "data": {"filler": "x".repeat(FILLER)}})
}

/// One run, its folder, and what was acknowledged in it.
pub struct Errand<'a> {
    template: &'a Template,
    data: PathBuf,
    scene: Scene,
    number: u64,
    events: BTreeSet<String>,
    /// Names of endpoints by id: those that were acknowledged, and what was asked for last.
    names: BTreeMap<String, Vec<String>>,
}

type Asked<T> = io::Result<T>;

impl<'a> Errand<'a> {
    /// Its events have ids that no other errand's have, as long as their numbers differ.
    pub fn new(template: &'a Template, dir: &Path, scene: Scene, number: u64) -> Self {
        let data = dir.join("data");
        let mut names = BTreeMap::new();
        let mut events = BTreeSet::new();
        if scene != Scene::First {
            copy(&template.dir.path().join("data"), &data);
            names.insert(template.endpoint.clone(), vec!["first".to_owned()]);
            events.extend((0..5).map(|number| format!("template-{number}")));
        }
        Self {
            template,
            data,
            scene,
            number,
            events,
            names,
        }
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn program(&self) -> Vec<String> {
        let data = self.data.display().to_string();
        [
            env!("CARGO_BIN_EXE_posthaste"),
            "serve",
            "--dev",
            "--no-listen",
            "--data",
            &data,
        ]
        .map(str::to_owned)
        .into()
    }

    /// Does everything, to be killed at a point.
    pub fn run_under(&mut self, point: Point) -> Ended {
        let status = self.run(&Task::Kill(point));
        let killed = status.signal() == Some(9);
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        assert!(killed || status.code() == Some(0), "{point}: {status}\n{log}");
        Ended { killed, log }
    }

    /// Does everything, and answers the most calls that a thread made of each kind.
    pub fn count_calls(&mut self) -> BTreeMap<&'static str, u64> {
        let calls = self.data.with_extension("calls");
        fs::create_dir(&calls).unwrap();
        let status = self.run(&Task::Count(&calls.join("thread")));
        assert_eq!(
            status.code(),
            Some(0),
            "{}",
            fs::read_to_string(self.log()).unwrap_or_default()
        );
        tracer::most_calls(&calls)
    }

    fn run(&mut self, task: &Task<'_>) -> ExitStatus {
        let log = self.log();
        if self.scene != Scene::Ready {
            let mut server = tracer::start(task, &self.program(), &log);
            return self.finish(&mut server);
        }
        let mut server = std::process::Command::new(&self.program()[0])
            .args(&self.program()[1..])
            .env("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB")
            .env("POSTHASTE_LIMITS__PAYLOAD", "8KiB")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .ends_with_test(Signal::KILL)
            .spawn()
            .unwrap();
        assert!(self.wait_ready(&mut server));
        let mut strace = tracer::attach(task, server.id(), &log);
        let status = self.finish(&mut server);
        strace.wait().unwrap();
        status
    }

    /// Runs the errand as far as it goes, and waits for the end of the server.
    fn finish(&mut self, server: &mut Child) -> ExitStatus {
        let done = self.wait_ready(server) && self.work(server).is_ok();
        if done {
            let pid = rustix::process::Pid::from_raw(server.id().cast_signed()).unwrap();
            _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        wait_for("the end of the server", || server.try_wait().unwrap())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Asked<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        raw(
            &self.data.join("posthaste.sock"),
            [&head, body].concat().as_bytes(),
        )
    }

    /// Answers whether the server became ready before it ended.
    fn wait_ready(&self, server: &mut Child) -> bool {
        let started = Instant::now();
        while server.try_wait().unwrap().is_none() {
            let ready = self.ask("GET", "/readyz", "");
            if ready.is_ok_and(|answer| answer.status == 200) {
                return true;
            }
            assert!(started.elapsed() < PATIENCE, "not ready");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        false
    }

    /// # Errors
    /// When the server is gone.
    fn work(&mut self, server: &mut Child) -> Asked<()> {
        self.add_endpoint("second")?;
        for number in 0..EVENTS {
            let id = format!("{}-{number}", self.number);
            let answer = self.ask("POST", "/v1/events", &event(&id).to_string())?;
            assert_eq!(answer.status, 202, "{}", answer.text());
            self.events.insert(id);
            if number == EVENTS / 2 {
                self.rename_endpoints()?;
            }
        }
        // Until everything has been delivered, or the server is gone.
        wait_for("deliveries", || {
            let all = self.events.iter().all(|id| self.template.has(id));
            (all || server.try_wait().unwrap().is_some()).then_some(())
        });
        Ok(())
    }

    fn add_endpoint(&mut self, name: &str) -> Asked<()> {
        let document = json!({"url": self.template.sink.url(), "name": name, "disable_on": "never"});
        let answer = self.ask("POST", "/v1/endpoints", &document.to_string())?;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        self.names.insert(id, vec![name.to_owned()]);
        Ok(())
    }

    fn rename_endpoints(&mut self) -> Asked<()> {
        let ids: Vec<String> = self.names.keys().cloned().collect();
        for id in ids {
            let wanted = json!({"name": "renamed"}).to_string();
            self.names.get_mut(&id).unwrap().push("renamed".to_owned());
            let answer = self.ask("PATCH", &format!("/v1/endpoints/{id}"), &wanted)?;
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.names.insert(id, vec!["renamed".to_owned()]);
        }
        Ok(())
    }

    /// Starts the server again and looks for everything that was acknowledged.
    pub fn look(&self) -> Result<(), String> {
        let environment = [
            ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
            ("POSTHASTE_LIMITS__PAYLOAD", "8KiB"),
        ];
        let mut server = Server::start_with(&self.data, &["--no-listen"], &environment);
        for (id, names) in &self.names {
            let answer = server.request("GET", &format!("/v1/endpoints/{id}"), None, b"");
            let name = answer.json()["name"].clone();
            if !names.iter().any(|known| name == *known) {
                return Err(format!("{id} is called {name}, not {names:?}"));
            }
        }
        for id in &self.events {
            let answer = server.request("GET", &format!("/v1/events/{id}"), None, b"");
            if answer.status != 200 {
                return Err(format!("{id} was acknowledged: {}", answer.text()));
            }
        }
        let status = wait_for("everything to be settled", || {
            let status = server.get("/v1/status");
            let open = ["scheduled", "in_flight", "held"].map(|state| status["deliveries"][state].as_u64());
            (status["state"] == "ready" && open == [Some(0); 3]).then_some(status)
        });
        let lost: Vec<_> = self.events.iter().filter(|id| !self.template.has(id)).collect();
        if !lost.is_empty() {
            return Err(format!("{lost:?} never arrived"));
        }
        if status["warnings"] != json!([]) || status["journal"]["damaged_ranges"] != 0 {
            return Err(status.to_string());
        }
        if server.stop().code() != Some(0) {
            return Err(server.log());
        }
        let (text, ended) = server.check();
        if ended.success() {
            Ok(())
        } else {
            Err(format!("check: {ended}: {text}"))
        }
    }
}
