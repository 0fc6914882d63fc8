//! One try of an endpoint's handshake: ask, judge, write down what came of it, and draw the consequence.
//!
//! Every request is an attempt (trigger `test`) by the way that deliveries take: the same address rules, TLS, limits,
//! headers, credentials and signatures. A code is durable before it is sent, so that the one which a receiver shows is
//! always one that can be submitted; what a receiver answers to it is not kept, since the code may stand in it.
//!
//! What is proved is saved together with its consequence. Journals of earlier versions may lack the consequence after a
//! crash; [`consequence`] finds that at the next start.

use std::sync::Arc;

use super::{
    attempt::{self, About, Seen, Until},
    edit::Edit,
    engine::Shared,
    error::EngineError,
    locks::Held,
};
use crate::{
    domain::{
        endpoint::{Endpoint, EndpointState, StateChange},
        event::Label,
        format::Scheme,
        handshake::Handshake,
        id::{EndpointId, EventId},
        outcome::{Class, Outcome, Reason},
        verification::{Blame, Code, Shortfall, Tried, Verification},
    },
    runtime::random,
    wire::handshake::{Answer, Challenge, Proof},
};

/// How a try ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// What came of it is written.
    Done,
    /// The endpoint is another by now; what was proved is not about it.
    Obsolete,
}

/// What an answer came to.
type Verdict = Result<Proof, (Shortfall, Blame)>;

/// Tries an endpoint's handshake, if it is due or someone asks.
pub(super) async fn run(shared: &Arc<Shared>, id: EndpointId, asked: bool) -> Result<Ended, EngineError> {
    let endpoint = {
        // A change under way is seen whole.
        let one_at_a_time = shared.configuring_of(id).await;
        let endpoint = shared.endpoint(id)?;
        if let Some(change) = consequence(&endpoint) {
            let mut edit = Edit::of(&endpoint, shared.clock.now());
            edit.change(change);
            let _held = shared.save(one_at_a_time, edit.into_changes(shared)?).await?;
            if !asked {
                return Ok(Ended::Done);
            }
        }
        endpoint
    };
    let is_due = endpoint
        .handshake_due()
        .is_some_and(|due| due <= shared.clock.now());
    if endpoint.spec.handshake.is_none() || !(asked || is_due) {
        return Ok(Ended::Done);
    }
    // One for all that the handshake asks, one request after the other.
    let slot = shared.slot_to_ask(&endpoint).await?;
    let Some(tried) = shake(shared, &endpoint).await? else {
        return Ok(Ended::Obsolete);
    };
    drop(slot);
    let one_at_a_time = shared.configuring_of(id).await;
    let Some(present) = unchanged(shared, &endpoint)? else {
        return Ok(Ended::Obsolete);
    };
    say(&present, &tried);
    let before = verification(&present);
    let before = if asked { before.asked() } else { before };
    let (now, random) = (shared.clock.now(), shared.jitter.unit());
    conclude(
        (shared, one_at_a_time),
        &present,
        before.after(tried, present.spec.handshake, now, random),
    )
    .await?;
    Ok(Ended::Done)
}

/// How far an endpoint has come.
pub(super) fn verification(endpoint: &Endpoint) -> Verification {
    let noted = endpoint.notes.verification.clone();
    noted.unwrap_or_else(|| Verification::pending(None))
}

/// The change of state that an endpoint's proof, or the lack of it, calls for.
pub(super) fn consequence(endpoint: &Endpoint) -> Option<StateChange> {
    match (endpoint.is_proved(), endpoint.standing.state) {
        (true, EndpointState::Unverified) => Some(StateChange::Enable { discard: false }),
        (false, EndpointState::Active) => Some(StateChange::Lapse),
        // What a person or a rule holds stays held.
        (_, EndpointState::Paused | EndpointState::Disabled)
        | (true, EndpointState::Active)
        | (false, EndpointState::Unverified) => None,
    }
}

/// Writes down how far an endpoint has come, and what follows from it. `held` keeps others from configuring it.
pub(super) async fn conclude(
    (shared, held): (&Arc<Shared>, Held<Option<Label>>),
    endpoint: &Endpoint,
    verification: Verification,
) -> Result<(), EngineError> {
    let mut edit = noted(shared, endpoint, verification);
    if let Some(change) = consequence(&edit.endpoint) {
        if change == StateChange::Lapse {
            tracing::warn!(endpoint.id = %endpoint.id, "the endpoint could not prove itself again; its deliveries are held");
        }
        edit.change(change);
    }
    shared.save(held, edit.into_changes(shared)?).await.map(drop)
}

fn noted(shared: &Shared, endpoint: &Endpoint, verification: Verification) -> Edit {
    let mut edit = Edit::of(endpoint, shared.clock.now());
    let mut notes = endpoint.notes.clone();
    notes.verification = Some(verification);
    edit.note(notes);
    edit
}

/// The endpoint as it is now, if what is proved of `then` is proved of it.
fn unchanged(shared: &Shared, then: &Endpoint) -> Result<Option<Arc<Endpoint>>, EngineError> {
    match shared.endpoint(then.id) {
        Ok(present) => Ok(present
            .spec
            .keeps_proof_of(&then.spec, &present.notes, shared.clock.now())
            .then_some(present)),
        // Deleted meanwhile.
        Err(EngineError::Gone | EngineError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks what the handshake asks; `None` when the endpoint has changed meanwhile.
async fn shake(shared: &Arc<Shared>, endpoint: &Endpoint) -> Result<Option<Tried>, EngineError> {
    let challenge = match endpoint.spec.handshake {
        Handshake::None => return Ok(None),
        Handshake::Ziggeo => return ziggeo(shared, endpoint).await,
        Handshake::Ping => Challenge::ping(endpoint.id),
        Handshake::Zoom => {
            let signing = endpoint.signing(shared.clock.now());
            let secrets = signing
                .iter()
                .filter(|(scheme, _)| *scheme == Scheme::Zoom)
                .flat_map(|(_, secrets)| secrets);
            Challenge::zoom(random::secure(), secrets, shared.clock.wall())
        }
        Handshake::Slack => Challenge::slack(random::secure(), random::secure()),
        Handshake::Cloudevents => Challenge::cloudevents(&shared.options.origin, endpoint.spec.rate)
            .map_err(|error| EngineError::Storage(Box::new(error)))?,
        Handshake::MicrosoftGraph => Challenge::microsoft_graph(random::secure()),
    };
    let verdict = ask(shared, endpoint, &challenge, 1).await?;
    Ok(Some(tried(verdict)))
}

async fn ziggeo(shared: &Arc<Shared>, endpoint: &Endpoint) -> Result<Option<Tried>, EngineError> {
    if let Err((error, blame)) = ask(shared, endpoint, &Challenge::ziggeo_reach(), 1).await? {
        return Ok(Some(Tried::Failed(error, blame)));
    }
    let code = new_code();
    {
        let one_at_a_time = shared.configuring_of(endpoint.id).await;
        let Some(present) = unchanged(shared, endpoint)? else {
            return Ok(None);
        };
        let sent = Verification {
            code: Some(code.clone()),
            ..verification(&present)
        };
        let edit = noted(shared, &present, sent);
        let _held = shared.save(one_at_a_time, edit.into_changes(shared)?).await?;
    }
    let verdict = ask(shared, endpoint, &Challenge::ziggeo_code(&code, endpoint.id), 2).await?;
    Ok(Some(tried(verdict)))
}

fn new_code() -> Code {
    loop {
        let numbers = random::secure::<64>();
        let numbers = numbers
            .chunks_exact(4)
            .map(|four| four.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        if let Some(code) = Code::from_random(numbers) {
            return code;
        }
    }
}

fn tried(verdict: Verdict) -> Tried {
    match verdict {
        Ok(Proof::Whole { allowed_per_minute }) => Tried::Proved { allowed_per_minute },
        Ok(Proof::Reached) => Tried::AwaitsCode,
        Err((error, blame)) => Tried::Failed(error, blame),
    }
}

/// Makes one request of a handshake, and records it.
async fn ask(
    shared: &Shared,
    endpoint: &Endpoint,
    challenge: &Challenge,
    number: u32,
) -> Result<Verdict, EngineError> {
    let started_at = shared.clock.now();
    let about = About {
        event_id: EventId::generate(started_at, u128::from_le_bytes(random::secure())),
        event_type: challenge
            .event_type
            .parse()
            .map_err(|error| EngineError::Storage(Box::new(error)))?,
        tenant: endpoint.spec.tenant.clone(),
    };
    let at = shared.clock.wall();
    let source = &shared.options.cloudevents_source;
    let request = attempt::with_parts(endpoint, started_at, shared.options.encoded_limit, |target| {
        challenge.request(target, about.event_id.as_str(), source, at)
    });
    let within = endpoint.spec.handshake.answer_within();
    let mut seen = attempt::transmit(shared, endpoint, about.clone(), request, Until::BodyEnds(within)).await;
    seen.outcome = shared.outage.judge(seen.outcome, seen.unreached.as_ref());
    let verdict = judge(challenge, &mut seen);
    if challenge.is_secret() {
        seen.conceal();
    }
    let record = attempt::standalone(&shared.options, endpoint.id, about, started_at, number, seen);
    shared.data.record_standalone_attempt(record).await?;
    Ok(verdict)
}

/// Judges what was seen, and has the attempt's outcome say the same.
fn judge(challenge: &Challenge, seen: &mut Seen) -> Verdict {
    let Some(status) = seen.outcome.status else {
        return Err(shortfall(&seen.outcome, "the request got no answer".to_owned()));
    };
    let answer = Answer {
        status,
        content_type: seen.headers.content_type.as_deref(),
        allowed_origin: seen.headers.allowed_origin.as_deref(),
        allowed_rate: seen.headers.allowed_rate.as_deref(),
        body: &seen.excerpt,
    };
    match challenge.judge(&answer) {
        Ok(proof) => {
            (seen.outcome.class, seen.outcome.reason) = (Class::Delivered, Reason::Status);
            Ok(proof)
        }
        Err(why) => {
            if seen.outcome.class == Class::Delivered {
                (seen.outcome.class, seen.outcome.reason) = (Class::EndpointError, Reason::Unproven);
            }
            Err(shortfall(&seen.outcome, why.to_string()))
        }
    }
}

fn shortfall(outcome: &Outcome, detail: String) -> (Shortfall, Blame) {
    let blame = match outcome.class {
        Class::Ours => Blame::Ours,
        Class::Transient => Blame::Passing,
        Class::Delivered | Class::EndpointError | Class::EventError => Blame::Lasting,
    };
    let error = Shortfall {
        reason: outcome.reason.as_str().to_owned(),
        status: outcome.status,
        detail,
    };
    (error, blame)
}

/// One line for a try: never what was sent or answered.
fn say(endpoint: &Endpoint, tried: &Tried) {
    let handshake = endpoint.spec.handshake.as_str();
    match tried {
        Tried::Proved { .. } => {
            tracing::info!(endpoint.id = %endpoint.id, handshake, "the endpoint is verified")
        }
        Tried::AwaitsCode => {
            tracing::info!(endpoint.id = %endpoint.id, handshake, "the endpoint was sent a code that waits to be submitted");
        }
        Tried::Failed(error, _) => tracing::warn!(
            endpoint.id = %endpoint.id,
            handshake,
            reason = error.reason,
            status = error.status,
            "the endpoint did not prove itself"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        endpoint::{EndpointSpec, Notes, Standing},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn endpoint(handshake: &str, proved: bool, change: &StateChange) -> Endpoint {
        let document =
            serde_json::json!({"url": "https://h.test/", "handshake": handshake, "rate": {"per_second": 2}});
        let spec: EndpointSpec = serde_json::from_value(document).unwrap();
        let pending = Verification::pending(Some(NOW));
        let granted = Tried::Proved {
            allowed_per_minute: Some(60),
        };
        let verification = if proved {
            pending.after(granted, spec.handshake, NOW, 0.5)
        } else {
            pending
        };
        Endpoint {
            id: EndpointId::from_bytes([1; 16]),
            created_at: NOW,
            updated_at: NOW,
            standing: Standing::new(change, NOW),
            notes: Notes {
                verification: (!spec.handshake.is_none()).then_some(verification),
                ..Notes::default()
            },
            spec,
        }
    }

    const ENABLE: StateChange = StateChange::Enable { discard: false };

    #[test]
    fn what_a_crash_cut_off_between_a_proof_and_its_consequence_is_due_at_once() {
        for (handshake, proved, state, follows) in [
            ("ping", true, StateChange::Unverify, Some(ENABLE)),
            ("none", false, StateChange::Unverify, Some(ENABLE)),
            ("ping", false, ENABLE, Some(StateChange::Lapse)),
        ] {
            let endpoint = endpoint(handshake, proved, &state);
            assert_eq!(consequence(&endpoint), follows, "{handshake} {state:?}");
            assert_eq!(
                endpoint.handshake_due(),
                Some(Timestamp::EPOCH),
                "{handshake} {state:?}"
            );
        }
        for (handshake, proved, state, due) in [
            ("ping", true, ENABLE, None),
            ("none", false, ENABLE, None),
            ("ping", false, StateChange::Unverify, Some(NOW)),
            ("ping", false, StateChange::Pause, Some(NOW)),
            ("ping", true, StateChange::Pause, None),
        ] {
            let endpoint = endpoint(handshake, proved, &state);
            assert_eq!(consequence(&endpoint), None, "{handshake} {state:?}");
            assert_eq!(endpoint.handshake_due(), due, "{handshake} {state:?}");
        }
    }

    #[test]
    fn only_a_lapse_is_to_be_told() {
        for (change, told) in [(StateChange::Lapse, true), (StateChange::Unverify, false)] {
            let standing = Standing::new(&change, NOW);
            assert_eq!(
                (standing.state, standing.notice_due),
                (EndpointState::Unverified, told)
            );
        }
    }

    #[test]
    fn a_granted_rate_lowers_the_endpoint_s_own_and_never_raises_it() {
        let rate = |endpoint: &Endpoint| endpoint.rate().map(|rate| rate.per_second);
        let mut endpoint = endpoint("cloudevents", true, &ENABLE);
        assert_eq!(rate(&endpoint), Some(1.0));
        endpoint.spec.rate = None;
        assert_eq!(rate(&endpoint), Some(1.0));
        endpoint.notes = Notes::default();
        assert_eq!(rate(&endpoint), None);
    }

    #[test]
    fn codes_differ() {
        let codes: std::collections::HashSet<String> =
            (0..20).map(|_| new_code().expose().to_owned()).collect();
        assert!(codes.len() > 15, "{codes:?}");
    }
}
