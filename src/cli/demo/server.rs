//! The real server as a process of its own.

use std::{
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    api::Api,
    folder::Folder,
    limits::{LOOK, PATIENCE},
};

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

impl Server {
    /// Starts this very program as `serve` on the folder, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or is not ready in time.
    pub async fn start(folder: &Folder, api: &Api) -> anyhow::Result<Self> {
        let started = tokio::time::Instant::now();
        let mut server = Self {
            child: spawn(folder)?,
            ready_after: Duration::ZERO,
        };
        while !api.is_ready().await {
            if let Some(status) = server.child.try_wait().context("cannot watch the server")? {
                bail!("the server ended at its start: {status}");
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the server is not ready after {PATIENCE:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
        server.ready_after = started.elapsed();
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it has ended already, or otherwise than by this.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        use std::os::unix::process::ExitStatusExt as _;
        self.child.kill().context("cannot kill the server")?;
        let status = self.child.wait().context("cannot watch the server")?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "the server ended by itself before it was killed: {status}"
        );
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time, or not cleanly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed()).context("the server has no process id")?;
        kill_process(pid, Signal::TERM).context("cannot stop the server")?;
        let asked = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("cannot watch the server")? {
                ensure!(status.success(), "the server did not stop cleanly: {status}");
                return Ok(());
            }
            ensure!(
                asked.elapsed() < PATIENCE,
                "the server has not stopped after {PATIENCE:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Folder) -> anyhow::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.log())
        .context("cannot write the server's log")?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .args(["serve", "--dev", "--no-listen", "--data"])
        .arg(folder.data())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot write the server's log")?)
        .stderr(log)
        // Ctrl-C is for the demo, which then ends the server.
        .process_group(0);
    // The story is the same whatever is configured here for a server of one's own.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"POSTHASTE_") {
            command.env_remove(name);
        }
    }
    command.spawn().context("cannot start the server")
}
