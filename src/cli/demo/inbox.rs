//! The two receivers of the story, and what they got.
//!
//! Both verify what comes, answer as they are told, and remember it. What they say they got is the demo's only
//! evidence for a delivery.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::bail;
use bytes::Bytes;
use http::StatusCode;

use crate::{
    cli::receiver::{Call, Reply, Unread},
    config::text::escaped,
    domain::{secret::SigningSecret, time::Timestamp},
    wire::signature::Scheme,
};

/// Who receives.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Partner {
    Shop,
    Ops,
}

/// A request whose signature was right, and how it was answered.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Timestamp,
    pub event: String,
    pub status: StatusCode,
    pub body: Bytes,
}

/// What all receivers have got.
#[derive(Default)]
pub struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    desks: BTreeMap<Partner, Desk>,
    trouble: Option<String>,
}

#[derive(Default)]
struct Desk {
    secrets: Vec<SigningSecret>,
    script: VecDeque<StatusCode>,
    otherwise: StatusCode,
    delay: Duration,
    arrivals: Vec<Arrival>,
}

impl Partner {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Ops => "ops",
        }
    }

    fn of(path: &str) -> Option<Self> {
        [Self::Shop, Self::Ops]
            .into_iter()
            .find(|partner| path.strip_prefix('/') == Some(partner.name()))
    }
}

impl Inbox {
    /// A partner learns the secrets that its requests are signed with, and how long it takes to answer.
    pub fn introduce(&self, partner: Partner, secrets: Vec<SigningSecret>, delay: Duration) {
        let mut state = self.state();
        let desk = state.desks.entry(partner).or_default();
        (desk.secrets, desk.delay) = (secrets, delay);
    }

    /// What a partner answers next, one by one, and from then on.
    pub fn answer(&self, partner: Partner, script: &[StatusCode], otherwise: StatusCode) {
        let mut state = self.state();
        let desk = state.desks.entry(partner).or_default();
        (desk.script, desk.otherwise) = (script.iter().copied().collect(), otherwise);
    }

    /// Takes a request.
    pub fn take(&self, call: Result<Call, Unread>) -> Reply {
        let mut state = self.state();
        let taken = match &call {
            Ok(call) => state.take(call),
            Err(unread) => Err(format!(
                "a request came that was not whole ({}): {}",
                unread.status,
                escaped(&unread.path)
            )),
        };
        taken.unwrap_or_else(|trouble| {
            state.trouble.get_or_insert(trouble);
            Reply::new(StatusCode::UNAUTHORIZED)
        })
    }

    /// # Errors
    /// When a request came that nobody should have sent.
    pub fn check(&self) -> anyhow::Result<()> {
        match &self.state().trouble {
            None => Ok(()),
            Some(trouble) => bail!("{trouble}"),
        }
    }

    /// Everything a partner got, in the order in which it came.
    pub fn arrivals(&self, partner: Partner) -> Vec<Arrival> {
        let state = self.state();
        state
            .desks
            .get(&partner)
            .map(|desk| desk.arrivals.clone())
            .unwrap_or_default()
    }

    /// The events a partner took, in the order in which they came, those that came twice twice.
    pub fn taken(&self, partner: Partner) -> Vec<String> {
        let taken = self.arrivals(partner).into_iter();
        taken
            .filter(|arrival| arrival.status.is_success())
            .map(|arrival| arrival.event)
            .collect()
    }

    /// How many events a partner took again that it had taken before.
    pub fn duplicates(&self, partner: Partner) -> usize {
        let taken = self.taken(partner);
        taken.len() - taken.iter().collect::<BTreeSet<_>>().len()
    }

    /// How often a partner took the event that it took most often.
    pub fn most_often(&self, partner: Partner) -> usize {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for event in self.taken(partner) {
            *counts.entry(event).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, call: &Call) -> Result<Reply, String> {
        let partner = Partner::of(&call.path);
        let desk = partner
            .and_then(|partner| self.desks.get_mut(&partner))
            .ok_or_else(|| format!("a request came for {}, where nobody is", escaped(&call.path)))?;
        call.verify(Scheme::Standard, &desk.secrets)
            .map_err(|error| format!("a request to {} could not be verified: {error}", call.path))?;
        let event = call
            .event_id()
            .ok_or_else(|| "a request came without the event's id".to_owned())?;
        let status = desk.script.pop_front().unwrap_or(desk.otherwise);
        desk.arrivals.push(Arrival {
            at: call.at,
            event: event.to_owned(),
            status,
            body: call.body.clone(),
        });
        Ok(Reply {
            delay: desk.delay,
            ..Reply::new(status)
        })
    }
}
