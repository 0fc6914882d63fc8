//! Fan-out: which endpoints an event goes to.
//!
//! The index of the registry answers at once. Conditions take time, and belong to whoever wrote them: a few cheap ones are
//! asked where the event is accepted, what needs more goes on in the work pool, at the expense of the event's tenant. All
//! conditions of one event have a budget together. An event that exceeds it is refused before it is accepted, since an
//! endpoint whose condition was not asked must neither get the event nor miss it unseen.

use std::{sync::Arc, vec};

use super::{conditions::Kept, engine::Shared, error::EngineError, registry::Audience};
use crate::{
    domain::{budget::Budget, condition::Subject, id::EndpointId, limits, record::EventAccepted},
    runtime::work_pool::{Owner, pass},
};

/// An endpoint that an event may go to, and its condition.
pub(super) type Candidate = (EndpointId, Option<Arc<Kept>>);

/// The endpoints that may want an event, while their conditions are asked.
pub(super) struct Asking {
    candidates: vec::IntoIter<Candidate>,
    chosen: Vec<EndpointId>,
    spent: u64,
}

/// How far the asking has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    /// One condition was asked, and there are candidates left.
    More,
    /// The next condition needs more than there is.
    TooCostly,
}

impl Asking {
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self {
            chosen: Vec::with_capacity(candidates.len()),
            candidates: candidates.into_iter(),
            spent: 0,
        }
    }

    /// Goes on up to and including the next condition. `most` is what all conditions may spend.
    pub fn ask(&mut self, subject: &Subject<'_>, most: u64) -> Asked {
        self.choose_unconditional();
        let Some((id, Some(condition))) = self.candidates.as_slice().first() else {
            return Asked::All;
        };
        let (wants, spent) = condition.wants(*id, subject, most.saturating_sub(self.spent));
        let Some(wants) = wants else {
            return Asked::TooCostly;
        };
        self.spent += spent;
        if wants {
            self.chosen.push(*id);
        }
        self.candidates.next();
        self.choose_unconditional();
        match self.candidates.as_slice() {
            [] => Asked::All,
            _ => Asked::More,
        }
    }

    /// Takes those that have no condition, up to the first that has one.
    fn choose_unconditional(&mut self) {
        while let Some((id, None)) = self.candidates.as_slice().first() {
            self.chosen.push(*id);
            self.candidates.next();
        }
    }

    /// Takes all that were not asked.
    fn choose_all(&mut self) {
        self.chosen.extend(self.candidates.by_ref().map(|(id, _)| id));
    }

    /// In the order of their creation.
    pub fn into_chosen(self) -> Vec<EndpointId> {
        self.chosen
    }
}

impl Shared {
    /// The endpoints that want an event. What their conditions spend is taken from what the request has.
    ///
    /// # Errors
    /// `Invalid` when the conditions cost more than one event may; `Busy` when the request, or the event's tenant, has used up
    /// its share.
    pub async fn fan_out(
        &self,
        event: &EventAccepted,
        request: &Budget,
    ) -> Result<Vec<EndpointId>, EngineError> {
        let most = limits::EVENT_CONDITIONS_BUDGET.min(request.left());
        let audience = Audience::of(event);
        let asking = self.registry.asking(&audience);
        let (asking, asked) = self.ask(asking, &audience, event, most).await?;
        if asked == Asked::TooCostly {
            return Err(match most < limits::EVENT_CONDITIONS_BUDGET {
                true => EngineError::Busy("the request has used up its time for conditions; send the rest in another one"),
                false => EngineError::Invalid {
                    field: "data".to_owned(),
                    rule: "takes too long to be held against the conditions of its endpoints; simplify the conditions, or \
                           make the data smaller"
                        .to_owned(),
                },
            });
        }
        // What is spent was there: `most` is at most what was left, and a request asks for one event at a time.
        if asking.spent > 0 {
            _ = request.charge(asking.spent);
        }
        Ok(asking.into_chosen())
    }

    /// The endpoints that want an operational event. Those whose conditions cost too much get it unasked: it must not be
    /// missed, and there is nobody to refuse it to.
    pub async fn notice_fan_out(&self, audience: &Audience<'_>, notice: &EventAccepted) -> Vec<EndpointId> {
        let asking = self.registry.asking_by_name(audience);
        let most = limits::EVENT_CONDITIONS_BUDGET;
        match self.ask(asking, audience, notice, most).await {
            Ok((mut asking, _)) => {
                asking.choose_all();
                asking.into_chosen()
            }
            Err(_) => {
                let mut unasked = self.registry.asking_by_name(audience);
                unasked.choose_all();
                unasked.into_chosen()
            }
        }
    }

    async fn ask(
        &self,
        mut asking: Asking,
        audience: &Audience<'_>,
        event: &EventAccepted,
        most: u64,
    ) -> Result<(Asking, Asked), EngineError> {
        asking.choose_unconditional();
        if asking.candidates.as_slice().is_empty() {
            return Ok((asking, Asked::All));
        }
        if event.payload.bytes.len() <= limits::INLINE_DATA_BYTES {
            let subject = Subject::new(audience.facts);
            let inline = limits::INLINE_CONDITIONS_BUDGET.min(most);
            loop {
                match asking.ask(&subject, inline) {
                    Asked::More => {}
                    Asked::TooCostly if inline < most => break,
                    ended => return Ok((asking, ended)),
                }
            }
        }
        let (owner, event) = (Owner::request(event.tenant.clone()), event.clone());
        let asked = self.work.run(owner, async move {
            let subject = Subject::new((&event).into());
            let mut asked = asking.ask(&subject, most);
            while asked == Asked::More {
                pass().await;
                asked = asking.ask(&subject, most);
            }
            (asking, asked)
        });
        Ok(asked.await?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::domain::{facts::Facts, time::Timestamp};

    fn candidate(id: u8, condition: Option<&str>) -> Candidate {
        let condition = condition.map(|source| Arc::new(Kept::new(source.to_owned())));
        (EndpointId::from_bytes([id; 16]), condition)
    }

    /// Asks all it can; answers how it ended, and who was chosen.
    fn asked(candidates: Vec<Candidate>, most: u64) -> (Asked, Vec<u8>, Asking) {
        let (attributes, data) = (BTreeMap::new(), Bytes::from_static(b"[1, 2, 3, 4, 5, 6, 7, 8]"));
        let subject = Subject::new(Facts {
            id: "e",
            event_type: "a",
            tenant: None,
            channel: None,
            attributes: &attributes,
            occurred_at: Timestamp::EPOCH,
            data: Some(&data),
        });
        let mut asking = Asking::new(candidates);
        let ended = loop {
            match asking.ask(&subject, most) {
                Asked::More => {}
                ended => break ended,
            }
        };
        let chosen = asking.chosen.iter().map(|id| id.as_bytes()[0]).collect();
        (ended, chosen, asking)
    }

    const DEAR: &str = "data.all(x, data.all(y, x + y > 0))";

    #[test]
    fn those_without_a_condition_are_chosen_in_their_order() {
        let all = vec![
            candidate(1, None),
            candidate(2, Some("data[0] == 1")),
            candidate(3, None),
            candidate(4, Some("data[0] == 2")),
            candidate(5, Some("data.missing")),
            candidate(6, None),
        ];
        let (ended, chosen, _) = asked(all, u64::MAX);
        assert_eq!((ended, chosen), (Asked::All, vec![1, 2, 3, 6]));
        let (ended, chosen, asking) = asked(vec![candidate(1, None)], 0);
        assert_eq!((ended, chosen, asking.spent), (Asked::All, vec![1], 0));
    }

    #[test]
    fn all_conditions_of_an_event_have_one_budget() {
        let (_, _, once) = asked(vec![candidate(1, Some(DEAR))], u64::MAX);
        let many = || (1..=10).map(|id| candidate(id, Some(DEAR))).collect();
        // A budget that is spent to the last unit counts as exceeded.
        assert_eq!(asked(many(), once.spent * 10 + 1).0, Asked::All);
        let (ended, chosen, mut asking) = asked(many(), once.spent * 10);
        assert_eq!((ended, chosen.len()), (Asked::TooCostly, 9));
        // Nothing is lost: it can be asked on with more, or taken unasked.
        assert_eq!(asking.candidates.as_slice().len(), 1);
        asking.choose_all();
        assert_eq!(asking.into_chosen().len(), 10);
    }

    #[test]
    fn a_condition_that_is_too_costly_for_any_event_is_no_match_and_not_the_events_fault() {
        let endless =
            "data.all(a, data.all(b, data.all(c, data.all(d, data.all(e, data.all(f, a + b > 0))))))";
        let (ended, chosen, asking) = asked(vec![candidate(1, Some(endless)), candidate(2, None)], u64::MAX);
        assert_eq!((ended, chosen), (Asked::All, vec![2]));
        assert!(asking.spent >= limits::CONDITION_BUDGET);
    }
}
