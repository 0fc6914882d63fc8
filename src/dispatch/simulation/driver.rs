//! People and fate: what is asked of the engine, and what befalls it, drawn from the seed.

use std::time::Duration;

use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use super::{
    super::{engine::Engine, error::EngineError, view::Accepted},
    life::{Death, Life},
    profile::{self, Kind, Profile},
    receivers::Manner,
};
use crate::domain::{
    endpoint::{EndpointState, StateChange},
    event::NewEvent,
    id::{EndpointId, EventId},
};

/// Asked of the engine at once.
const AT_ONCE: usize = 6;
/// Between looks at whether everything is as it should be.
const TICK: Duration = Duration::from_secs(30);

/// What was answered.
pub(super) enum Answer {
    Accepted(Vec<(NewEvent, Result<Accepted, EngineError>)>),
    Created(usize, Result<EndpointId, EngineError>),
    Done(&'static str, Result<(), EngineError>),
}

/// What people remember, over the lives of the process.
pub(super) struct Driver {
    pub rng: fastrand::Rng,
    pub profile: Profile,
    ops: usize,
    pub named: u64,
    created: usize,
    pub endpoints: Vec<EndpointId>,
    /// Events that were answered with a 202.
    pub acked: Vec<(NewEvent, EventId, u32)>,
    pub partition_until: Option<u64>,
    pub full_until: Option<u64>,
    pub asks: JoinSet<Answer>,
}

impl Driver {
    pub fn new(profile: Profile) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(profile.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            profile,
            ops: 0,
            named: 0,
            created: 0,
            endpoints: Vec::new(),
            acked: Vec::new(),
            partition_until: None,
            full_until: None,
            asks: JoinSet::new(),
        }
    }

    /// Lets things happen until the process dies, or all has happened; `None` then.
    pub async fn run(&mut self, life: &Life) -> Option<Death> {
        self.asks = JoinSet::new();
        while self.ops < self.profile.ops {
            self.hear(life);
            self.ops += 1;
            if self.endpoints.len() < self.profile.endpoints && (self.endpoints.is_empty() || self.rng.bool())
            {
                self.create(life).await;
                continue;
            }
            let kind = self.profile.next(&mut self.rng);
            if kind == Kind::Death {
                return Some(self.death());
            }
            if self.asks.len() < AT_ONCE {
                self.happens(life, kind);
            }
            let wait = self.profile.wait(&mut self.rng);
            self.wait(life, wait).await;
            if !life.stage.lock().wrong.is_empty() {
                return None;
            }
        }
        None
    }

    /// Waits, looking whether all is well now and then.
    pub async fn wait(&mut self, life: &Life, mut wait: Duration) {
        loop {
            let piece = wait.min(TICK);
            sleep(piece).await;
            wait -= piece;
            self.fate(life);
            life.tick();
            if wait.is_zero() {
                return;
            }
        }
    }

    /// Ends what was to last for a while.
    fn fate(&mut self, life: &Life) {
        let now = life.stage.lock().now();
        if self.partition_until.is_some_and(|until| until <= now) {
            self.partition_until = None;
            life.stage.say("everyone can be reached again");
            life.stage.lock().receivers.partition = false;
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
            life.stage.say("there is room on the disk again");
            life.plate.set_full(false);
        }
    }

    fn death(&mut self) -> Death {
        match self.rng.u8(..6) {
            0 | 1 => Death::Stopped,
            2 | 3 => Death::Killed,
            4 => Death::KilledWithoutStore,
            _ => Death::Cut(self.rng.u64(..=1000)),
        }
    }

    async fn create(&mut self, life: &Life) {
        // Endpoints are told apart by when they were created.
        sleep(Duration::from_millis(20)).await;
        let document = profile::endpoint(&mut self.rng, self.created);
        let (engine, ordinal) = (engine(life), self.created);
        self.created += 1;
        life.stage
            .say(&format!("create e{ordinal} {}", Value::Object(document.clone())));
        let manner = Manner::any(&mut self.rng);
        let answer = engine.create_endpoint(document).await;
        let answer = answer.map(|(view, _)| view.id);
        if let Ok(id) = answer {
            life.stage.set_manner(id, manner);
            life.stage.say(&format!("e{ordinal} is {manner:?}"));
        }
        self.heard(life, Answer::Created(ordinal, answer));
    }

    /// Takes answers that have come.
    pub fn hear(&mut self, life: &Life) {
        while let Some(answer) = self.asks.try_join_next() {
            match answer {
                Ok(answer) => self.heard(life, answer),
                Err(error) => life
                    .stage
                    .lock()
                    .wrong(format!("an operation came to grief: {error}")),
            }
        }
    }

    fn heard(&mut self, life: &Life, answer: Answer) {
        match answer {
            Answer::Accepted(answers) => answers.into_iter().for_each(|(event, answer)| match answer {
                Ok(accepted) => self.acknowledged(life, event, accepted),
                Err(error) => life.stage.say(&format!("refused: {error}")),
            }),
            Answer::Created(ordinal, Ok(id)) => {
                life.stage.say(&format!("created e{ordinal}"));
                self.endpoints.push(id);
            }
            Answer::Created(ordinal, Err(error)) => life.stage.say(&format!("e{ordinal} refused: {error}")),
            Answer::Done(what, Ok(())) => life.stage.say(&format!("done: {what}")),
            Answer::Done(what, Err(error)) => life.stage.say(&format!("not done: {what}: {error}")),
        }
    }

    /// An event was answered with a 202, or called a duplicate of one that was.
    fn acknowledged(&mut self, life: &Life, event: NewEvent, accepted: Accepted) {
        let Accepted {
            id,
            deliveries,
            duplicate,
            ..
        } = accepted;
        let mut stage = life.stage.lock();
        let lsn = stage.ids.get(id.as_str()).copied();
        stage.say(&format!(
            "answered {lsn:?} deliveries {deliveries} duplicate {duplicate}"
        ));
        if lsn.is_none() {
            stage.wrong(format!("{id} is acknowledged and not in the journal"));
        }
        if lsn.is_some_and(|lsn| lsn > life.shared.journal.synced_lsn()) {
            stage.wrong(format!("{id} is acknowledged and not synced"));
        }
        if duplicate && event.id.is_none() {
            stage.wrong(format!("{id} is called a duplicate of nothing"));
        }
        let known = self.acked.iter().any(|(_, acked, _)| *acked == id);
        if !duplicate && known {
            stage.wrong(format!("{id} is accepted a second time"));
        }
        if !known {
            self.acked.push((event, id, deliveries));
        }
    }

    /// Everything heals, and most of what is held is let go; then as long as it takes.
    pub async fn heal(&mut self, life: &Life) {
        life.stage.say("everything heals");
        self.partition_until = Some(0);
        self.full_until = Some(0);
        life.stage.lock().receivers.heal();
        life.wall.set(life.wall.truth());
        life.stage.wall_is_set();
        self.wait(life, Duration::from_secs(60)).await;
        self.hear(life);
        let spared = self.rng.u8(..3) == 0;
        for round in 0..4000_u32 {
            if !life.stage.lock().wrong.is_empty() {
                return;
            }
            for endpoint in life.shared.registry.all() {
                let left = spared && life.stage.lock().model.ordinal(endpoint.id) % 2 == 1;
                if endpoint.standing.state != EndpointState::Active && !left && round % 10 == 0 {
                    let enable = StateChange::Enable { discard: false };
                    let answer = engine(life).change_endpoint(endpoint.id, enable).await;
                    let said = answer.map(|_| ());
                    self.heard(life, Answer::Done("enable", said));
                }
            }
            if self.is_quiet(life) {
                return;
            }
            self.wait(life, Duration::from_secs(if round < 50 { 30 } else { 1800 }))
                .await;
        }
        life.stage
            .lock()
            .wrong("deliveries are still open long after everything has healed".to_owned());
    }

    fn is_quiet(&self, life: &Life) -> bool {
        let stage = life.stage.lock();
        let held = |id: &EndpointId| {
            stage
                .model
                .endpoints
                .get(id)
                .is_none_or(|known| known.deleted || known.state != EndpointState::Active)
        };
        let open = stage.model.open.iter();
        self.asks.is_empty()
            && stage.applied == stage.records.len() as u64
            && stage.out.is_empty()
            && stage.unsettled.is_empty()
            && open.into_iter().all(|(id, keys)| keys.is_empty() || held(id))
    }
}

pub(super) fn engine(life: &Life) -> Engine {
    life.running.engine().clone()
}
