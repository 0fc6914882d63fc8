//! Arguments that several commands share, and those of the commands that run a server.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::{input::Secret, output::Format};
use crate::config::{Flag, Loaded, Problems, Request, load};

/// The configuration file, and the keys of it that have flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// The configuration file (else POSTHASTE_CONFIG, else none)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory (storage.data)
    #[arg(long, value_name = "DIR")]
    pub data: Option<OsString>,
    /// The unix socket (api.socket)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<OsString>,
    /// The TCP address (api.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<OsString>,
    /// No TCP, the unix socket only
    #[arg(long, conflicts_with = "listen")]
    pub no_listen: bool,
    /// Development: allow loopback and private networks as receivers
    #[arg(long)]
    pub dev: bool,
}

impl ConfigArgs {
    /// The configuration as file, environment and these flags make it.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let mut flags = Vec::new();
        let mut set = |name, section, key, value: &Option<OsString>| {
            let flag = value.clone().map(|value| Flag {
                name,
                section,
                key,
                value,
            });
            flags.extend(flag);
        };
        set("--data", "storage", "data", &self.data);
        set("--socket", "api", "socket", &self.socket);
        set("--listen", "api", "listen", &self.listen);
        set(
            "--no-listen",
            "api",
            "listen",
            &self.no_listen.then(|| "off".into()),
        );
        let environment = std::env::vars_os().collect();
        load(&Request {
            file: self.config.clone(),
            environment,
            flags,
            dev: self.dev,
        })
    }
}

/// Run the server.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Check a data directory whose server is not running.
#[derive(Args, Debug, Default)]
pub struct CheckArgs {
    /// The data directory (else storage.data of the configuration)
    #[arg(long, value_name = "DIR")]
    pub data: Option<OsString>,
    /// Say what a repair will do, ask, and do it: damaged ranges are cut out of the journal and kept
    #[arg(long)]
    pub repair: bool,
    /// Repair without asking
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// Lines for people, one JSON object for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl CheckArgs {
    /// The configuration that applies to the directory.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        ConfigArgs {
            data: self.data.clone(),
            ..ConfigArgs::default()
        }
        .load()
    }
}

/// Show the whole story on one screen
///
/// Runs a real server in a temporary folder, with receivers on loopback: events are accepted, retried, held, carried
/// through a `kill -9` and delivered. Needs no configuration and no network, and leaves nothing behind. Exit code 1
/// when anything goes otherwise than told.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Keep the folder, with the server's data and log, and print its path
    #[arg(long)]
    pub keep: bool,
}

/// Which server to speak to, and how to print its answers.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// The server's unix socket (else POSTHASTE_SOCKET, else that of the configuration)
    #[arg(long, value_name = "PATH", global = true, help_heading = "Connection")]
    pub socket: Option<PathBuf>,
    /// A server on TCP instead, http:// or https:// (else POSTHASTE_SERVER)
    #[arg(long, value_name = "URL", global = true, help_heading = "Connection")]
    #[arg(conflicts_with_all = ["socket", "data_dir", "config"])]
    pub server: Option<String>,
    /// The API key for it, or @FILE that holds it (else POSTHASTE_KEY)
    #[arg(long, value_name = "KEY", global = true, help_heading = "Connection")]
    pub key: Option<Secret>,
    /// The server's data directory, which holds its socket
    #[arg(
        id = "data_dir",
        long = "data",
        value_name = "DIR",
        global = true,
        help_heading = "Connection"
    )]
    pub data: Option<OsString>,
    /// The server's configuration file, which names its socket
    #[arg(long, value_name = "FILE", global = true, help_heading = "Connection")]
    pub config: Option<PathBuf>,
    /// A table for people, JSON for programs (lists: one object a line)
    #[arg(long, value_name = "FORMAT", global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl ConnectArgs {
    /// The socket that the configuration names.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration.
    pub fn configured_socket(&self) -> Result<PathBuf, Problems> {
        let args = ConfigArgs {
            config: self.config.clone(),
            data: self.data.clone(),
            ..ConfigArgs::default()
        };
        Ok(args.load()?.config.api.socket)
    }
}

/// Why something is changed.
#[derive(Args, Clone, Debug, Default)]
pub struct ReasonArgs {
    /// Why this is changed, for the audit log
    #[arg(long, value_name = "TEXT", global = true)]
    pub reason: Option<String>,
}
