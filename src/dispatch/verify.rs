//! The verifier: has endpoints with a handshake prove themselves before anything is delivered to them.
//!
//! One task. It is woken when an endpoint changes, when someone asks, and at the earliest time at which a handshake is
//! to be tried, and makes each try (`super::shake`) a task of its own, one at a time for an endpoint: whoever asks
//! while one is out waits for that one. What was tried for a configuration that has changed meanwhile counts for
//! nothing, and is tried again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
};

use super::{
    engine::{Engine, Shared},
    error::{EngineError, chain},
    shake::{self, Ended},
    slots,
    view::EndpointView,
};
use crate::domain::{
    endpoint::Endpoint, event::Label, handshake::Handshake, id::EndpointId, limits, verification::Submitted,
};

/// The longest sleep. A step of the wall clock is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Before a try that our own storage has spoilt is made again.
const PAUSE: Duration = Duration::from_secs(1);
/// Requests that may wait for the verifier to take them up; more wait in their callers.
const INBOX: usize = 16;

/// How the verifier is reached.
pub(super) struct Verifier {
    asks: mpsc::Sender<Ask>,
    woken: Notify,
}

/// Someone asks for a handshake, and waits.
pub(super) struct Ask {
    endpoint: EndpointId,
    done: Asker,
}

type Asker = oneshot::Sender<Result<(), EngineError>>;

impl Verifier {
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, inbox) = mpsc::channel(INBOX);
        let woken = Notify::new();
        (Self { asks, woken }, inbox)
    }

    /// An endpoint may have something to prove, or another time for it.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Has an endpoint tried now, and waits for the end of it.
    async fn ask(&self, endpoint: EndpointId) -> Result<(), EngineError> {
        let (done, answer) = oneshot::channel();
        let ask = Ask { endpoint, done };
        self.asks.send(ask).await.map_err(|_| EngineError::Stopping)?;
        answer.await.unwrap_or(Err(EngineError::Stopping))
    }
}

impl Engine {
    /// Runs an endpoint's handshake now, or takes the code that a handshake has sent. Answers the endpoint, whose
    /// `verification` says what came of it.
    ///
    /// # Errors
    /// `NotNow` without a handshake, or without a code that waits; `Invalid` for a wrong code, which costs a try; `Busy`
    /// while no slot can be had for the try.
    pub async fn verify_endpoint(
        &self,
        id: EndpointId,
        code: Option<String>,
    ) -> Result<EndpointView, EngineError> {
        let shared = &self.0;
        shared.storage.get()?;
        if shared.endpoint(id)?.spec.handshake.is_none() {
            return Err(EngineError::NotNow(
                "the endpoint has no handshake; set its handshake to have it prove itself",
            ));
        }
        match code {
            Some(code) => shared.submit(id, &code).await?,
            None => shared.verifier.ask(id).await?,
        }
        Ok(shared.shown_endpoint(&*shared.endpoint(id)?))
    }
}

impl Shared {
    async fn submit(self: &Arc<Self>, id: EndpointId, code: &str) -> Result<(), EngineError> {
        let invalid = |rule: String| EngineError::Invalid {
            field: "code".to_owned(),
            rule,
        };
        let one_at_a_time = self.configuring_of(id).await;
        let endpoint = self.endpoint(id)?;
        if endpoint.spec.handshake != Handshake::Ziggeo {
            return Err(invalid(
                "is for the handshake ziggeo alone; leave it out".to_owned(),
            ));
        }
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("is six digits".to_owned()));
        }
        let mut verification = shake::verification(&endpoint);
        let submitted = verification.submit(code, endpoint.spec.handshake, self.clock.now());
        let refused = match submitted {
            Submitted::Right => None,
            Submitted::NoCode => {
                return Err(EngineError::NotNow(
                    "no code waits to be submitted; verify without a code, and the endpoint is sent one",
                ));
            }
            Submitted::Wrong { tries_left: 0 } => Some(
                "is not the one that was sent, and was the last try; verify without a code for a new one"
                    .to_owned(),
            ),
            Submitted::Wrong { tries_left: 1 } => {
                Some("is not the one that was sent; 1 try is left".to_owned())
            }
            Submitted::Wrong { tries_left } => Some(format!(
                "is not the one that was sent; {tries_left} tries are left"
            )),
        };
        shake::conclude((self, one_at_a_time), &endpoint, verification).await?;
        refused.map_or(Ok(()), |rule| Err(invalid(rule)))
    }
}

/// Runs until the server stops; what is out then is given up, and due again after the next start.
pub(super) async fn run(shared: Arc<Shared>, mut asks: mpsc::Receiver<Ask>) {
    let mut tries = Tries::default();
    loop {
        // Registered before looking, so that no wake-up is lost.
        let woken = shared.verifier.woken.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let sleep = tries.begin_due(&shared);
        tokio::select! {
            biased;
            Some(ask) = asks.recv(), if tries.has_room() => tries.asked(&shared, ask),
            Some(ended) = tries.out.join_next_with_id() => tries.ended(&shared, ended),
            () = tokio::time::sleep(sleep) => {}
            () = &mut woken => {}
            () = shared.stopping.cancelled() => break,
        }
    }
    tries.out.shutdown().await;
}

/// The tries that are out.
#[derive(Default)]
struct Tries {
    out: JoinSet<Result<Ended, EngineError>>,
    /// Whose a try is, in case it panics: the endpoint, and its tenant.
    whose: HashMap<Id, (EndpointId, Option<Label>)>,
    /// How many each tenant has out.
    held: HashMap<Option<Label>, usize>,
    /// Who waits for the try of an endpoint that is out.
    askers: HashMap<EndpointId, Vec<Asker>>,
    /// Endpoints whose try came to grief in this life of the process: tried again only when someone asks.
    broken: HashSet<EndpointId>,
}

impl Tries {
    fn has_room(&self) -> bool {
        self.out.len() < limits::HANDSHAKES_AT_ONCE
    }

    /// Whether one tenant may have one more out: those whose receivers hang leave room to the others.
    fn has_room_for(&self, tenant: &Option<Label>) -> bool {
        let held = self.held.get(tenant).copied().unwrap_or_default();
        let free = limits::HANDSHAKES_AT_ONCE.saturating_sub(self.out.len());
        slots::may_take(held, free, false)
    }

    /// Begins what is due while there is room; answers how long to sleep.
    fn begin_due(&mut self, shared: &Arc<Shared>) -> Duration {
        if !shared.storage.is_ready() {
            return LONGEST_SLEEP;
        }
        while self.has_room() {
            let passed_over = |endpoint: &Endpoint| {
                self.askers.contains_key(&endpoint.id)
                    || self.broken.contains(&endpoint.id)
                    || !self.has_room_for(&endpoint.spec.tenant)
            };
            let Some((due, id)) = shared.registry.next_handshake(passed_over) else {
                break;
            };
            let now = shared.clock.now();
            if due > now {
                return due.since(now).clamp(Duration::from_millis(1), LONGEST_SLEEP);
            }
            self.begin(shared, id, Vec::new());
        }
        LONGEST_SLEEP
    }

    fn asked(&mut self, shared: &Arc<Shared>, Ask { endpoint, done }: Ask) {
        if let Some(askers) = self.askers.get_mut(&endpoint) {
            askers.push(done);
        } else if self.has_room_for(&tenant_of(shared, endpoint)) {
            self.begin(shared, endpoint, vec![done]);
        } else {
            // Who asked may have gone.
            _ = done.send(Err(EngineError::Busy(
                "as many handshakes of the endpoint's tenant are under way as may be; try again when some have ended",
            )));
        }
    }

    fn begin(&mut self, shared: &Arc<Shared>, id: EndpointId, askers: Vec<Asker>) {
        let tenant = tenant_of(shared, id);
        *self.held.entry(tenant.clone()).or_default() += 1;
        let (shared, asked) = (shared.clone(), !askers.is_empty());
        self.askers.insert(id, askers);
        let handle = self.out.spawn(async move {
            let ended = shake::run(&shared, id, asked).await;
            if let (Err(error), false) = (&ended, asked) {
                tracing::warn!(endpoint.id = %id, error = %chain(error), "a handshake waits");
                tokio::time::sleep(PAUSE).await;
            }
            ended
        });
        self.whose.insert(handle.id(), (id, tenant));
    }

    fn give_back(&mut self, tenant: &Option<Label>) {
        if let Some(held) = self.held.get_mut(tenant) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    fn ended(&mut self, shared: &Arc<Shared>, ended: Result<(Id, Result<Ended, EngineError>), JoinError>) {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some((id, tenant)) = self.whose.remove(&task) else {
            return;
        };
        self.give_back(&tenant);
        let askers = self.askers.remove(&id).unwrap_or_default();
        let ended = match ended {
            Ok((_, ended)) => {
                self.broken.remove(&id);
                ended
            }
            Err(error) => {
                tracing::error!(endpoint.id = %id, %error, "a handshake came to grief");
                self.broken.insert(id);
                return;
            }
        };
        if matches!(ended, Ok(Ended::Obsolete)) && !askers.is_empty() {
            return self.begin(shared, id, askers);
        }
        let mut answers = askers.into_iter();
        if let Some(first) = answers.next() {
            // Who asked may have gone.
            _ = first.send(ended.map(|_| ()));
        }
        // What the first was told the others see for themselves.
        answers.for_each(|asker| _ = asker.send(Ok(())));
    }
}

fn tenant_of(shared: &Shared, id: EndpointId) -> Option<Label> {
    shared.registry.get(id)?.spec.tenant.clone()
}
