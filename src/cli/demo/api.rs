//! What the demo asks of the server, over its unix socket.

use std::{collections::BTreeSet, path::PathBuf};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::{
        ConnectArgs, Format,
        client::{Client, ClientError, Path},
        list::Pages,
    },
    domain::{secret::SigningSecret, time::Timestamp},
};

/// A client with the questions of this story.
pub struct Api(Client);

#[derive(Debug, Deserialize)]
pub struct Added {
    pub id: String,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize)]
pub struct Signature {
    pub secret: SigningSecret,
}

#[derive(Debug, Deserialize)]
pub struct Endpoint {
    pub state: String,
    pub state_since: Timestamp,
    pub disabled_reason: Option<Disabled>,
}

#[derive(Debug, Deserialize)]
pub struct Disabled {
    pub why: String,
    pub status: Option<u16>,
}

#[derive(Debug, Deserialize)]
pub struct Attempt {
    pub number: u32,
    pub outcome: String,
    pub status: Option<u16>,
    pub started_at: Timestamp,
    pub duration_ms: u64,
    pub next_due: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub struct Status {
    pub state: String,
    pub durability: String,
    pub events: u64,
    pub deliveries: Counts,
}

#[derive(Debug, Deserialize)]
pub struct Counts {
    pub scheduled: u64,
    pub held: u64,
    pub in_flight: u64,
    pub delivered: u64,
    pub failed: u64,
    pub expired: u64,
    pub cancelled: u64,
}

#[derive(Deserialize)]
struct Row {
    id: String,
}

#[derive(Deserialize)]
struct Listed<T> {
    data: Vec<T>,
}

impl Counts {
    /// Deliveries that have not ended.
    pub const fn open(&self) -> u64 {
        self.scheduled + self.held + self.in_flight
    }

    /// Deliveries that have ended otherwise than delivered.
    pub const fn undelivered(&self) -> u64 {
        self.failed + self.expired + self.cancelled
    }
}

impl Api {
    /// # Errors
    /// The client's.
    pub fn new(socket: PathBuf) -> anyhow::Result<Self> {
        let client = Client::new(&ConnectArgs {
            socket: Some(socket),
            server: None,
            key: None,
            data: None,
            config: None,
            output: Format::Json,
        })?;
        Ok(Self(client))
    }

    /// Whether there is a server that accepts and delivers.
    pub async fn is_ready(&self) -> bool {
        self.status().await.is_ok_and(|status| status.state == "ready")
    }

    pub async fn status(&self) -> anyhow::Result<Status> {
        self.0.get(&Path::new(&["status"])).await?.read()
    }

    pub async fn add_endpoint(&self, document: &Value) -> anyhow::Result<Added> {
        let path = Path::new(&["endpoints"]);
        let body = Some(document.to_string().into_bytes());
        self.0.ask(Method::POST, &path, body, None).await?.read()
    }

    pub async fn endpoint(&self, id: &str) -> anyhow::Result<Endpoint> {
        self.0.get(&Path::new(&["endpoints", id])).await?.read()
    }

    pub async fn enable(&self, id: &str) -> anyhow::Result<Endpoint> {
        let path = Path::new(&["endpoints", id, "enable"]);
        self.0.ask(Method::POST, &path, None, None).await?.read()
    }

    /// Sends an event: 202 when it is new, 200 when it was known.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn send(&self, event_type: &str, id: &str) -> Result<StatusCode, ClientError> {
        let body = json!({"type": event_type, "id": id, "data": {"number": id}});
        let body = Some(body.to_string().into_bytes());
        let path = Path::new(&["events"]);
        Ok(self.0.ask(Method::POST, &path, body, None).await?.status)
    }

    /// An event's attempts, oldest first.
    pub async fn attempts(&self, event: &str) -> anyhow::Result<Vec<Attempt>> {
        let path = Path::new(&["attempts"])
            .query("event", event)
            .query("order", "asc");
        let listed: Listed<Attempt> = self.0.get(&path).await?.read()?;
        Ok(listed.data)
    }

    /// The ids of all events there are.
    pub async fn event_ids(&self) -> anyhow::Result<BTreeSet<String>> {
        let path = Path::new(&["events"]);
        let mut pages = Pages::new(&self.0, &path, usize::MAX);
        let mut ids = BTreeSet::new();
        while let Some(rows) = pages.next().await? {
            for row in rows {
                ids.insert(serde_json::from_str::<Row>(row.get())?.id);
            }
        }
        Ok(ids)
    }
}
