//! A PostgreSQL database, over one connection that is made again when it is lost.
//!
//! Statements of several calls are on their way at once; each is a transaction of its own. A statement whose connection
//! broke is tried once more on a new one: putting a row again does nothing. TLS is not offered.

use std::{borrow::Cow, error::Error as _, sync::Arc};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};
pub use tokio_postgres::Config;
use tokio_postgres::{
    Client, NoTls, Statement,
    config::{ChannelBinding, Host, SslMode},
    types::Type,
};

use super::{COLUMNS, Put, Row, Table};
use crate::cli::listen::{
    content::Kind,
    limits::{CONNECT_PAUSE, CONNECT_WAIT, STATEMENT_WAIT, STORE_WAIT},
};

/// A database, and the connection to it while there is one.
pub struct Postgres {
    config: Config,
    table: Table,
    slot: Mutex<Slot>,
}

/// Why a row is not known to be in the database. PostgreSQL's own words never hold a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("cannot connect to PostgreSQL")]
    Connect(#[source] tokio_postgres::Error),
    #[error("PostgreSQL could not be reached a moment ago")]
    Pausing,
    #[error("PostgreSQL did not answer within 10s")]
    Late,
    #[error("the table {0} is there with other columns or for others; name another with --table")]
    Table(String, #[source] tokio_postgres::Error),
    #[error("PostgreSQL")]
    Statement(#[from] tokio_postgres::Error),
}

#[derive(Default)]
struct Slot {
    link: Option<Arc<Link>>,
    /// When a connection could last not be made.
    failed: Option<Instant>,
}

/// A connection, ready for rows.
struct Link {
    client: Client,
    insert: Statement,
    /// The task that carries it; it ends with this.
    _carrier: JoinSet<()>,
}

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, without showing it.
pub fn read(url: &str) -> Result<Config, String> {
    let mut config: Config = one_host(url).parse().map_err(|error: tokio_postgres::Error| {
        let why = error.source().map(ToString::to_string);
        let why = why.unwrap_or_else(|| "it cannot be read".to_owned());
        format!("not a PostgreSQL URL ({why}); write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err("sslmode=require cannot be had: TLS to PostgreSQL is not offered; use a unix socket, this machine or a private network".to_owned());
    }
    if config.get_channel_binding() == ChannelBinding::Require {
        return Err("channel_binding=require cannot be had: TLS to PostgreSQL is not offered".to_owned());
    }
    if config.get_user().is_none() {
        return Err("the URL names no user; write postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned());
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("the URL names no host; write postgres://USER@HOST/DATABASE, or ?host=/FOLDER for the folder of a unix socket".to_owned());
    }
    let hosts = config.get_hosts();
    if hosts
        .iter()
        .any(|host| matches!(host, Host::Tcp(name) if name.contains('@')))
    {
        return Err("a host with an @ in it; write %40 for each @ of the password".to_owned());
    }
    config.ssl_mode(SslMode::Disable);
    config.application_name("posthaste listen");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WAIT);
    }
    Ok(config)
}

/// The URL with one host: as in PostgreSQL's own programs, `host=` stands in the place of the one before the path.
/// The library would try both.
fn one_host(url: &str) -> Cow<'_, str> {
    let changed = || {
        let (scheme, rest) = url.split_once("://")?;
        let (credentials, rest) = rest.split_once('@').unwrap_or(("", rest));
        let (place, query) = rest.split_once('?')?;
        let names = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
        if !names("host=") {
            return None;
        }
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let port = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'));
        let port = port
            .filter(|_| !names("port="))
            .map(|(_, port)| format!("&port={port}"));
        let port = port.unwrap_or_default();
        let at = if credentials.is_empty() { "" } else { "@" };
        Some(format!("{scheme}://{credentials}{at}/{database}?{query}{port}"))
    };
    changed().map_or(Cow::Borrowed(url), Cow::Owned)
}

/// The database, without its password.
pub fn described(config: &Config) -> String {
    let ports = config.get_ports();
    let host = |(index, host): (usize, &Host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
        }
    };
    let mut hosts: Vec<_> = config.get_hosts().iter().enumerate().map(host).collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    format!(
        "PostgreSQL at {}, database {database}, as {user}",
        hosts.join(", ")
    )
}

impl Postgres {
    /// Connects, and makes the table if there is none.
    ///
    /// # Errors
    /// When that cannot be done, or the table is of another form.
    pub async fn open(config: Config, table: &Table) -> Result<Self, PostgresError> {
        let store = Self {
            config,
            table: table.clone(),
            slot: Mutex::default(),
        };
        timeout(STORE_WAIT, store.link())
            .await
            .map_err(|_| PostgresError::Late)??;
        Ok(store)
    }

    /// Puts a row, and waits for its commit.
    ///
    /// # Errors
    /// When it is not known to be committed.
    pub async fn put(&self, row: &Row) -> Result<Put, PostgresError> {
        if let Ok(done) = timeout(STORE_WAIT, self.try_twice(row)).await {
            return done;
        }
        // Whatever holds it up, the next rows begin anew.
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.link = None;
        }
        Err(PostgresError::Late)
    }

    async fn try_twice(&self, row: &Row) -> Result<Put, PostgresError> {
        let link = self.link().await?;
        match link.put(row).await {
            Err(error) if link.client.is_closed() || is_broken(&error) => {
                self.drop_link(&link).await;
                Ok(self.link().await?.put(row).await?)
            }
            done => Ok(done?),
        }
    }

    async fn drop_link(&self, broken: &Arc<Link>) {
        let mut slot = self.slot.lock().await;
        if slot.link.as_ref().is_some_and(|link| Arc::ptr_eq(link, broken)) {
            slot.link = None;
        }
    }

    /// The connection; a new one if there is none that works.
    async fn link(&self) -> Result<Arc<Link>, PostgresError> {
        let mut slot = self.slot.lock().await;
        if let Some(link) = slot.link.as_ref().filter(|link| !link.client.is_closed()) {
            return Ok(link.clone());
        }
        slot.link = None;
        if slot.failed.is_some_and(|at| at.elapsed() < CONNECT_PAUSE) {
            return Err(PostgresError::Pausing);
        }
        // Also when this is given up half-way.
        slot.failed = Some(Instant::now());
        match Link::make(&self.config, &self.table).await {
            Ok(link) => {
                *slot = Slot {
                    link: Some(Arc::new(link)),
                    failed: None,
                };
                Ok(slot.link.clone().ok_or(PostgresError::Pausing)?)
            }
            Err(error) => {
                slot.failed = Some(Instant::now());
                Err(error)
            }
        }
    }
}

impl Link {
    async fn make(config: &Config, table: &Table) -> Result<Self, PostgresError> {
        let (client, connection) = config.connect(NoTls).await.map_err(PostgresError::Connect)?;
        let mut carrier = JoinSet::new();
        carrier.spawn(async move {
            // How it ended is heard by the statements that were on their way.
            let _ = connection.await;
        });
        let most = STATEMENT_WAIT.as_millis();
        client
            .batch_execute(&format!("SET statement_timeout = {most}"))
            .await?;
        let commits: String = client
            .query_one("SELECT current_setting('synchronous_commit')", &[])
            .await?
            .try_get(0)?;
        if commits == "off" {
            // Then a commit would be acknowledged before it is on disk.
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        prepare_table(&client, table).await?;
        let insert = client.prepare_typed(&insert(table), &INSERT_TYPES).await?;
        Ok(Self {
            client,
            insert,
            _carrier: carrier,
        })
    }

    async fn put(&self, row: &Row) -> Result<Put, tokio_postgres::Error> {
        let payload = match row.kind {
            Kind::Json => row.text().map(str::to_owned),
            Kind::Text => row.text().map(|text| serde_json::Value::from(text).to_string()),
            Kind::Bytes => None,
        };
        match self.insert(row, payload.as_deref()).await {
            // What JSON allows and jsonb does not: the body has it all.
            Err(error) if payload.is_some() && is_about_data(&error) => self.insert(row, None).await,
            done => done,
        }
    }

    async fn insert(&self, row: &Row, payload: Option<&str>) -> Result<Put, tokio_postgres::Error> {
        let changed = self
            .client
            .execute(
                &self.insert,
                &[
                    &row.id,
                    &row.event_type,
                    &row.received_at.to_string(),
                    &row.path,
                    &row.content_type,
                    &row.headers,
                    &payload,
                    &&row.body[..],
                    &row.verified,
                ],
            )
            .await?;
        Ok(Put::of(changed))
    }
}

const INSERT_TYPES: [Type; 9] = [
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::BYTEA,
    Type::BOOL,
];

fn insert(table: &Table) -> String {
    format!(
        "INSERT INTO {} ({COLUMNS})
        VALUES ($1, $2, $3::timestamptz, $4, $5, $6::jsonb, $7::jsonb, $8, $9) ON CONFLICT (id) DO NOTHING",
        table.quoted()
    )
}

/// Makes the table if it is not there, and makes sure that rows fit into it.
async fn prepare_table(client: &Client, table: &Table) -> Result<(), PostgresError> {
    let name = table.quoted();
    // Who may put rows into a table that is there need not be allowed to make one.
    let is_there = async || -> Result<bool, tokio_postgres::Error> {
        let found = client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])
            .await?;
        found.try_get(0)
    };
    if !is_there().await? {
        let made = client.batch_execute(&create(table)).await;
        // Another one may have made it meanwhile.
        if let Err(error) = made
            && !is_there().await?
        {
            return Err(error.into());
        }
    }
    // Planned and not run: it fails if a column, its type, the key or a right is missing.
    let check = format!(
        "EXPLAIN INSERT INTO {name} ({COLUMNS})
        VALUES (''::text, ''::text, now(), ''::text, ''::text, '{{}}'::jsonb, '{{}}'::jsonb, ''::bytea, true)
        ON CONFLICT (id) DO NOTHING"
    );
    match client.batch_execute(&check).await {
        Err(error) if error.as_db_error().is_some() => Err(PostgresError::Table(table.to_string(), error)),
        done => Ok(done?),
    }
}

fn create(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (
            id text PRIMARY KEY,
            type text,
            received_at timestamptz NOT NULL,
            path text NOT NULL,
            content_type text,
            headers jsonb NOT NULL,
            payload jsonb,
            body bytea NOT NULL,
            verified boolean NOT NULL
        )",
        table.quoted()
    )
}

/// SQLSTATE classes 22 (data exception) and 54 (limits of the program).
fn is_about_data(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(tokio_postgres::error::SqlState::code);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("54"))
}

/// Whether the connection is of no more use: it ended, or the server is about to end it (SQLSTATE class 57).
fn is_broken(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(state) => state.code().starts_with("57P"),
        None => true,
    }
}
