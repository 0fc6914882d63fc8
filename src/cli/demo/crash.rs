//! The story from `kill -9` to its end: killed while accepting and delivering, started again, released, counted.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, bail, ensure};
use http::StatusCode;
use tokio::task::JoinSet;

use super::{
    api::Api,
    inbox::Partner,
    limits::{BURST, STOCK_SENDERS},
    screen::Tone,
    server::Server,
    story::{Story, millis, order},
};
use crate::cli::client::ClientError;

/// The `stock.*` events of the burst. Its `order.*` events are among the story's.
pub struct Burst {
    pub stock: BTreeSet<String>,
}

/// An event of the burst.
#[derive(Clone, Debug)]
struct Event {
    event_type: &'static str,
    id: String,
}

/// What a sender did until it got no answer any more.
struct Sent {
    accepted: Vec<Event>,
    unanswered: Event,
    why: ClientError,
}

/// Several senders at once, each with one request after the other.
struct Senders {
    tasks: JoinSet<Sent>,
    accepted: Arc<AtomicUsize>,
}

/// What all senders did.
struct Outcome {
    accepted: Vec<Event>,
    unanswered: Vec<Event>,
}

impl Story<'_> {
    /// Kills the server while it accepts and delivers, starts it again on the same folder, and counts.
    pub async fn crash(&mut self) -> anyhow::Result<Burst> {
        let title = "4. kill -9, while events are accepted and attempts are out";
        self.screen.chapter(title).await?;
        let before = self.orders.len();
        self.screen.now(
            Tone::Plain,
            "events sent",
            &format!(
                "{} senders at once: order.* is held for shop, stock.* goes to ops",
                STOCK_SENDERS + 1
            ),
        )?;
        let mut senders = Senders::start(&self.api, before + 1);
        self.wait("a burst of events to be under way", async || {
            let under_way = senders.accepted.load(Ordering::SeqCst) >= BURST && self.receiver.open() > 0;
            senders.check()?;
            Ok(under_way.then_some(()))
        })
        .await?;
        let out = self.receiver.open();
        self.server.kill()?;
        let sent = senders.ended().await?;
        let accepted = before + sent.accepted.len();
        let unanswered = sent.unanswered.len();
        let told = format!(
            "SIGKILL: {accepted} events accepted, {unanswered} requests unanswered, {out} attempts out"
        );
        self.screen.now(Tone::Bad, "server killed", &told)?;
        self.server = Server::start(self.folder, &self.api).await?;
        let told = format!(
            "on the same folder, ready after {}",
            millis(self.server.ready_after)
        );
        self.screen.now(Tone::Plain, "server restarted", &told)?;
        self.count(sent).await
    }

    /// What was accepted has to be there. What got no answer is sent again, under the same id.
    async fn count(&mut self, sent: Outcome) -> anyhow::Result<Burst> {
        let found = self.api.event_ids().await?;
        let early = self.orders.iter();
        let accepted: BTreeSet<&String> = early.chain(sent.accepted.iter().map(|event| &event.id)).collect();
        let lost: Vec<_> = accepted.iter().filter(|id| !found.contains(**id)).collect();
        ensure!(
            lost.is_empty(),
            "accepted and lost: {lost:?}; this must never happen"
        );
        let told = format!(
            "{} of the {} that were accepted; nothing is lost",
            accepted.len() - lost.len(),
            accepted.len()
        );
        self.screen.now(Tone::Good, "events found", &told)?;
        let known = self.repeat(&sent.unanswered, &found).await?;
        let told = format!(
            "the {} that got no answer, same ids: {known} known already, {} new",
            sent.unanswered.len(),
            sent.unanswered.len() - known
        );
        self.screen.now(Tone::Plain, "sent again", &told)?;
        let all = sent.accepted.into_iter().chain(sent.unanswered);
        let (orders, stock): (Vec<_>, Vec<_>) = all.partition(|event| event.event_type == "order.paid");
        self.orders.extend(orders.into_iter().map(|event| event.id));
        Ok(Burst {
            stock: stock.into_iter().map(|event| event.id).collect(),
        })
    }

    /// Sends events again; answers how many the server knew. It must know exactly those that it has.
    async fn repeat(&self, events: &[Event], found: &BTreeSet<String>) -> anyhow::Result<usize> {
        let mut known = 0;
        for event in events {
            let status = self.api.send(event.event_type, &event.id).await?;
            let there = found.contains(&event.id);
            let expected = if there {
                StatusCode::OK
            } else {
                StatusCode::ACCEPTED
            };
            ensure!(
                status == expected,
                "{} was answered {status}, not {expected}",
                event.id
            );
            known += usize::from(there);
        }
        Ok(known)
    }

    /// The repaired endpoint is enabled, and gets what was held, in order.
    pub async fn release(&mut self, burst: &Burst) -> anyhow::Result<()> {
        self.screen
            .chapter("5. Release: shop is repaired and enabled")
            .await?;
        let expected = &self.orders[1..];
        self.held(expected.len()).await?;
        self.inbox.answer(Partner::Shop, &[], StatusCode::OK);
        let endpoint = self.api.enable(&self.shop).await?;
        ensure!(endpoint.state == "active", "shop is {}", endpoint.state);
        let told = format!("shop; its {} held deliveries are due", expected.len());
        self.screen
            .at(endpoint.state_since, Tone::Plain, "endpoint enabled", &told)?;
        // The operational event is the server's own.
        let all = self.orders.len() as u64 + burst.stock.len() as u64 + 1;
        self.wait("every delivery to end", async || {
            let status = self.api.status().await?;
            let undelivered = status.deliveries.undelivered();
            ensure!(undelivered == 0, "{undelivered} deliveries were given up");
            let done = status.deliveries.open() == 0 && status.deliveries.delivered == all;
            Ok((done && status.events == all).then_some(()))
        })
        .await?;
        let released = self.inbox.taken(Partner::Shop).split_off(1);
        ensure!(
            released == expected,
            "the held events came in another order: {released:?}"
        );
        let told = format!(
            "{} to shop, in the order in which they were accepted",
            released.len()
        );
        self.screen.now(Tone::Good, "events delivered", &told)?;
        let stock: BTreeSet<_> = self.inbox.taken(Partner::Ops).into_iter().collect();
        let told = format!(
            "{} to ops, each at least once",
            stock.intersection(&burst.stock).count()
        );
        self.screen.now(Tone::Good, "events delivered", &told)
    }

    /// Counts what the receivers got against what was accepted.
    pub async fn end(self, burst: &Burst) -> anyhow::Result<()> {
        self.inbox.check()?;
        // Once in each life of the server.
        let most = self.inbox.most_often(Partner::Ops);
        ensure!(
            most <= 2,
            "ops got an event {most} times, with one restart in between"
        );
        let accepted: BTreeSet<String> = self.orders.iter().chain(&burst.stock).cloned().collect();
        let partners = [Partner::Shop, Partner::Ops];
        let taken: BTreeSet<String> = partners
            .iter()
            .flat_map(|partner| self.inbox.taken(*partner))
            .collect();
        let delivered = accepted.intersection(&taken).count();
        let lost = accepted.len() - delivered;
        let duplicates: usize = partners
            .iter()
            .map(|partner| self.inbox.duplicates(*partner))
            .sum();
        self.server.stop().await?;
        let counts = format!(
            "accepted {}, delivered {delivered}, duplicates {duplicates}, lost {lost}",
            accepted.len()
        );
        ensure!(lost == 0, "{counts}");
        self.screen.text(&format!(
            "\n{}: every signature verified",
            self.screen.verdict(&counts)
        ))?;
        self.screen.text(epilogue(duplicates))
    }
}

fn epilogue(duplicates: usize) -> &'static str {
    if duplicates == 0 {
        "\nNext: posthaste serve --dev"
    } else {
        "What was not yet recorded as delivered at the kill was sent again: delivery is at least once,\n\
         and a receiver tells a duplicate by the event's id (webhook-id).\n\n\
         Next: posthaste serve --dev"
    }
}

impl Senders {
    /// One sender of `order.*`, numbered from `first`, so that their order is known; the others send `stock.*`.
    fn start(api: &Arc<Api>, first: usize) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(send(api.clone(), accepted.clone(), move |count| Event {
            event_type: "order.paid",
            id: order(first + count),
        }));
        for sender in 1..=STOCK_SENDERS {
            tasks.spawn(send(api.clone(), accepted.clone(), move |count| Event {
                event_type: "stock.moved",
                id: format!("stock-{sender}-{}", count + 1),
            }));
        }
        Self { tasks, accepted }
    }

    /// # Errors
    /// When a sender has ended although nobody has killed the server.
    fn check(&mut self) -> anyhow::Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(Err(error)) => Err(error).context("a sender came to grief"),
            Some(Ok(sent)) => Err(sent.why).context("a sender got no answer before the server was killed"),
        }
    }

    /// What the senders did, now that there is no server.
    async fn ended(mut self) -> anyhow::Result<Outcome> {
        let (mut accepted, mut unanswered) = (Vec::new(), Vec::new());
        while let Some(ended) = self.tasks.join_next().await {
            let sent = ended.context("a sender came to grief")?;
            if let ClientError::Refused(refusal) = sent.why {
                bail!("{} was refused: {refusal}", sent.unanswered.id);
            }
            accepted.extend(sent.accepted);
            unanswered.push(sent.unanswered);
        }
        Ok(Outcome { accepted, unanswered })
    }
}

/// Sends one event after the other until there is no answer.
async fn send(api: Arc<Api>, count: Arc<AtomicUsize>, event: impl Fn(usize) -> Event) -> Sent {
    let mut accepted = Vec::new();
    loop {
        let next = event(accepted.len());
        if let Err(why) = api.send(next.event_type, &next.id).await {
            return Sent {
                accepted,
                unanswered: next,
                why,
            };
        }
        accepted.push(next);
        count.fetch_add(1, Ordering::SeqCst);
    }
}
