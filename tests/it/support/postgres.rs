//! A PostgreSQL cluster of the test's own, in a temporary folder; gone when dropped.
//!
//! Needs `initdb` and `postgres`, on the path or where Debian puts them. Neither runs as root, so root lends them to `nobody`.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::child::EndsWithTest as _;
use super::{
    server::wait_for,
    skip::{Need, skip},
};

/// The user and group `nobody` of every Linux distribution.
const NOBODY: u32 = 65534;
pub const PASSWORD: &str = "hunter2";

pub struct Cluster {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Cluster {
    /// Makes a cluster and starts it. None, loudly, where there is no PostgreSQL.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip(
                Need::Postgres,
                "there is no PostgreSQL here: initdb and postgres are neither on the path nor in /usr/lib/postgresql",
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let secret = folder.path().join("password");
        fs::write(&secret, PASSWORD).unwrap();
        fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let made = lent(&programs.join("initdb"), folder.path())
            .args(["--pgdata=data", "--username=ada", "--pwfile=password"])
            .args([
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let (port, server) = (0..5)
            .find_map(|_| serve(&programs, folder.path(), free_port()))
            .expect("a port for PostgreSQL");
        Some(Self {
            programs,
            folder,
            port,
            server,
        })
    }

    /// The URL over TCP.
    pub fn url(&self) -> String {
        format!("postgres://ada:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// The URL over the unix socket, in the other spelling.
    pub fn socket_url(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "postgresql://ada:{PASSWORD}@localhost:{}/postgres?host={folder}",
            self.port
        )
    }

    /// Ends it at once: its connections break off, and the next start recovers from the log.
    pub fn kill(&mut self) {
        end(&mut self.server);
    }

    /// Starts it again, at the same address.
    pub fn restart(&mut self) {
        let (_, server) = serve(&self.programs, self.folder.path(), self.port).expect("the port as before");
        self.server = server;
    }

    /// Runs SQL; answers the rows as text.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        query(&self.url(), sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Runs SQL in a transaction that stays open until what is answered is dropped.
    pub fn hold(&self, sql: &str) -> impl Drop + use<> {
        let runtime = runtime();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
            client
        });
        Held {
            client: Some(client),
            runtime,
        }
    }

    /// The only value of the only row.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.query(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{rows:?}");
        rows[0][0].clone().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

struct Held {
    client: Option<tokio_postgres::Client>,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            _ = self.runtime.block_on(client.batch_execute("ROLLBACK"));
        }
    }
}

fn end(server: &mut Child) {
    if let Ok(None) = server.try_wait() {
        let pid = Pid::from_raw(server.id().cast_signed()).unwrap();
        // "Immediate shutdown": it takes its own processes with it, which SIGKILL would leave behind.
        _ = kill_process(pid, Signal::QUIT);
        _ = server.wait();
    }
}

/// The folder with the programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let versions = versions.map(|entry| entry.unwrap().path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(versions).find(|folder| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}

/// A program in a folder, as nobody when we are root.
fn lent(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts the server and waits until it answers. None when it ends, as when the port is taken.
fn serve(programs: &Path, folder: &Path, port: u16) -> Option<(u16, Child)> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let socket = format!("unix_socket_directories={}", folder.display());
    let port_setting = format!("port={port}");
    let mut server = lent(&programs.join("postgres"), folder)
        .args(["-D", "data", "-c", &socket, "-c", &port_setting])
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .ends_with_test(Signal::QUIT)
        .spawn()
        .unwrap();
    let url = format!("postgres://ada:{PASSWORD}@127.0.0.1:{port}/postgres");
    wait_for("PostgreSQL", || {
        if server.try_wait().unwrap().is_some() {
            return Some(None);
        }
        query(&url, "SELECT 1").ok().map(Some)
    })?;
    Some((port, server))
}

fn query(url: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    runtime().block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let carrier = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        drop(client);
        let _ = carrier.await;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| {
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect()
            })
            .collect())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
