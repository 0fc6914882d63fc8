//! The story up to the held events: accepted, retried, held.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{Api, Attempt},
    folder::Folder,
    inbox::{Arrival, Inbox, Partner},
    limits::{LOOK, OPS_CONCURRENCY, OPS_DELAY, PATIENCE},
    screen::{Screen, Tone},
    server::Server,
};
use crate::{
    cli::receiver::{BODY_BYTES, Receiver},
    runtime::clock::SystemClock,
};

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
pub const DISABLED: &str = "endpoint.disabled";

/// What is told, and everything that is needed to tell it.
pub struct Story<'a> {
    pub screen: &'a Screen,
    pub folder: &'a Folder,
    pub api: Arc<Api>,
    pub server: Server,
    pub inbox: Arc<Inbox>,
    pub receiver: Receiver,
    /// The endpoint of [`Partner::Shop`].
    pub shop: String,
    /// Events accepted so far, in the order in which they were sent.
    pub orders: Vec<String>,
}

/// The body of an operational event.
#[derive(Deserialize)]
struct Notice {
    #[serde(rename = "type")]
    event_type: String,
    data: NoticeData,
}

#[derive(Deserialize)]
struct NoticeData {
    name: String,
    held_deliveries: u64,
    disabled_reason: NoticeReason,
}

#[derive(Deserialize)]
struct NoticeReason {
    status: Option<u16>,
}

impl<'a> Story<'a> {
    /// Starts everything, adds the endpoints, and has the first event accepted.
    pub async fn begin(screen: &'a Screen, folder: &'a Folder) -> anyhow::Result<Self> {
        screen.chapter("1. Accept: durable before the answer").await?;
        let inbox = Arc::new(Inbox::default());
        let taking = inbox.clone();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let decide = move |call| std::future::ready(taking.take(call));
        let receiver = Receiver::start(any, BODY_BYTES, Arc::new(SystemClock), decide)
            .await
            .context("cannot listen on loopback")?;
        let api = Arc::new(Api::new(folder.data().join("posthaste.sock"))?);
        let server = Server::start(folder, &api).await?;
        screen.now(
            Tone::Plain,
            "server started",
            &format!(
                "a process of its own (pid {}), ready after {}",
                server.pid(),
                millis(server.ready_after)
            ),
        )?;
        let mut story = Self {
            screen,
            folder,
            api,
            server,
            inbox,
            receiver,
            shop: String::new(),
            orders: Vec::new(),
        };
        story.add_endpoints().await?;
        story.first_event().await?;
        Ok(story)
    }

    async fn add_endpoints(&mut self) -> anyhow::Result<()> {
        let retry = json!({"base": "300ms", "factor": 2, "max": "5s", "retries": 5});
        let shop = json!({"events": ["order.*"], "retry": retry, "concurrency": 1});
        self.shop = self.add(Partner::Shop, shop, Duration::ZERO).await?;
        self.screen.now(
            Tone::Plain,
            "endpoint added",
            "shop takes order.*, one by one; retries after about 300ms, 600ms, ...",
        )?;
        let ops = json!({"events": ["stock.*", "endpoint.*"], "concurrency": OPS_CONCURRENCY});
        self.add(Partner::Ops, ops, OPS_DELAY).await?;
        self.screen.now(
            Tone::Plain,
            "endpoint added",
            "ops takes stock.*, and endpoint.*, the news of disabled endpoints",
        )
    }

    async fn add(&self, partner: Partner, mut document: Value, delay: Duration) -> anyhow::Result<String> {
        let url = format!("http://{}/{}", self.receiver.address(), partner.name());
        document["url"] = url.into();
        document["name"] = partner.name().into();
        let added = self.api.add_endpoint(&document).await?;
        let secrets = added.signatures.into_iter().map(|signature| signature.secret);
        self.inbox.introduce(partner, secrets.collect(), delay);
        Ok(added.id)
    }

    async fn first_event(&mut self) -> anyhow::Result<()> {
        let durability = self.api.status().await?.durability;
        ensure!(durability == "fsync", "the server's durability is {durability}");
        self.inbox
            .answer(Partner::Shop, &[UNAVAILABLE, UNAVAILABLE], StatusCode::OK);
        let asked = tokio::time::Instant::now();
        self.order().await?;
        let took = millis(asked.elapsed());
        let told = if self.folder.is_in_memory() {
            format!("order-1, 202 after {took} (the folder is in memory: a disk takes longer)")
        } else {
            format!("order-1, 202 after {took}; it was on disk before the answer (fsync)")
        };
        self.screen.now(Tone::Good, "event accepted", &told)
    }

    /// Sends the next order; it has to be accepted, as new.
    pub async fn order(&mut self) -> anyhow::Result<()> {
        let id = order(self.orders.len() + 1);
        let status = self.api.send("order.paid", &id).await?;
        ensure!(
            status == StatusCode::ACCEPTED,
            "{id} was answered {status}, not 202"
        );
        self.orders.push(id);
        Ok(())
    }

    /// Two failures, each with its backoff, then a success.
    pub async fn retry(&mut self) -> anyhow::Result<()> {
        self.screen.chapter("2. Retry: shop answers 503, twice").await?;
        for number in [1, 2] {
            let attempt = self.attempt("order-1", number).await?;
            ensure!(
                attempt.status == Some(503) && attempt.outcome == "transient",
                "attempt {number} should have met a 503: {attempt:?}"
            );
            let next = attempt.next_due.context("a 503 left nothing due")?;
            let ended = attempt
                .started_at
                .plus(Duration::from_millis(attempt.duration_ms));
            let due = next.since(ended).as_secs_f64();
            self.screen.at(
                attempt.started_at,
                Tone::Bad,
                &format!("attempt {number}"),
                &format!("503, {}; the next is due {due:.2}s later", attempt.outcome),
            )?;
        }
        let attempt = self.attempt("order-1", 3).await?;
        ensure!(
            attempt.status == Some(200) && attempt.outcome == "delivered",
            "attempt 3 should have met a 200: {attempt:?}"
        );
        self.inbox.check()?;
        let taken = self.inbox.taken(Partner::Shop);
        ensure!(taken == self.orders, "shop took {taken:?}, not order-1 once");
        self.screen.at(
            attempt.started_at,
            Tone::Good,
            "attempt 3",
            "200, delivered; shop verified its signature",
        )
    }

    /// An endpoint that is gone is disabled, someone is told, and its events are held.
    pub async fn hold(&mut self) -> anyhow::Result<()> {
        self.screen.chapter("3. Hold: shop answers 410").await?;
        self.inbox.answer(Partner::Shop, &[], StatusCode::GONE);
        self.inbox.answer(Partner::Ops, &[], StatusCode::OK);
        self.order().await?;
        let attempt = self.attempt("order-2", 1).await?;
        ensure!(
            attempt.status == Some(410),
            "order-2 should have met a 410: {attempt:?}"
        );
        let told = format!("order-2: 410, {}", attempt.outcome);
        self.screen
            .at(attempt.started_at, Tone::Bad, "attempt 1", &told)?;
        self.disabled().await?;
        self.notice().await?;
        self.order().await?;
        self.order().await?;
        self.held(3).await?;
        let told = "order-3 and order-4 accepted all the same; 3 deliveries are held";
        self.screen.now(Tone::Waiting, "events held", told)
    }

    /// Waits until the server shows so many held deliveries: what it shows follows what it accepted.
    pub async fn held(&self, count: usize) -> anyhow::Result<()> {
        self.wait(&format!("{count} held deliveries"), async || {
            let held = self.api.status().await?.deliveries.held;
            Ok((held == count as u64).then_some(()))
        })
        .await
    }

    async fn disabled(&self) -> anyhow::Result<()> {
        let endpoint = self
            .wait("shop to be disabled", async || {
                let endpoint = self.api.endpoint(&self.shop).await?;
                Ok((endpoint.state == "disabled").then_some(endpoint))
            })
            .await?;
        let reason = endpoint
            .disabled_reason
            .context("shop is disabled without a reason")?;
        ensure!(
            reason.status == Some(410),
            "shop is disabled because of {reason:?}"
        );
        let told = format!("shop, because of {} (410); order-2 is held, not lost", reason.why);
        self.screen
            .at(endpoint.state_since, Tone::Bad, "endpoint disabled", &told)
    }

    /// Someone is told: an operational event arrives at the other endpoint.
    async fn notice(&self) -> anyhow::Result<()> {
        let arrival = self
            .wait("the news that shop is disabled", async || {
                Ok(self.inbox.arrivals(Partner::Ops).into_iter().next())
            })
            .await?;
        let Notice { event_type, data } = notice(&arrival)?;
        ensure!(
            event_type == DISABLED && data.name == Partner::Shop.name(),
            "ops got {event_type} about {}",
            data.name
        );
        let told = format!(
            "{event_type} arrived, signed: {}, {}, {} held",
            data.name,
            data.disabled_reason
                .status
                .map_or_else(|| "no status".to_owned(), |status| format!("status {status}")),
            data.held_deliveries
        );
        self.screen.at(arrival.at, Tone::Good, "ops is told", &told)
    }

    async fn attempt(&self, event: &str, number: u32) -> anyhow::Result<Attempt> {
        self.wait(&format!("attempt {number} of {event}"), async || {
            let attempts = self.api.attempts(event).await?;
            Ok(attempts.into_iter().find(|attempt| attempt.number == number))
        })
        .await
    }

    /// Looks until something is there.
    ///
    /// # Errors
    /// When it is not in time, or a look fails, or something came that should not have.
    pub async fn wait<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let began = tokio::time::Instant::now();
        loop {
            self.inbox.check()?;
            if let Some(found) = look().await? {
                return Ok(found);
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain for {what}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The id of an order.
pub fn order(number: usize) -> String {
    format!("order-{number}")
}

pub fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

fn notice(arrival: &Arrival) -> anyhow::Result<Notice> {
    serde_json::from_slice(&arrival.body).context("ops got something that it does not understand")
}
