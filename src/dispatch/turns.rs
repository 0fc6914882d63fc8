//! Whose turn it is: the lanes in line, tenant by tenant.
//!
//! Tenants take turns, and of each the lane that has waited longest, so that neither a deep backlog nor a tenant with
//! many endpoints puts others off. Endpoints without a tenant are one more tenant here. A tenant that has its share of
//! the slots is set aside until the next pass.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::domain::{event::Label, id::EndpointId};

type Tenant = Option<Label>;

/// A lane's place in line.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    is_first: bool,
}

impl Ticket {
    /// Whether its lane has no attempt out.
    pub const fn is_first(self) -> bool {
        self.is_first
    }
}

#[derive(Default)]
pub(super) struct Turns {
    /// Tenants with lanes in line; each is in `order` or among those set aside, once.
    lines: HashMap<Tenant, Line>,
    order: VecDeque<Tenant>,
    set_aside: Vec<Tenant>,
    issued: u64,
}

/// One tenant's lanes, by the number of their ticket.
#[derive(Default)]
struct Line {
    /// Those that have no attempt out.
    first: BTreeMap<u64, EndpointId>,
    more: BTreeMap<u64, EndpointId>,
}

impl Line {
    fn of(&mut self, ticket: Ticket) -> &mut BTreeMap<u64, EndpointId> {
        if ticket.is_first {
            &mut self.first
        } else {
            &mut self.more
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }
}

impl Turns {
    /// Puts a lane at the end of its tenant's line. `is_first` says that it has no attempt out.
    pub fn join(&mut self, tenant: &Tenant, id: EndpointId, is_first: bool) -> Ticket {
        self.issued += 1;
        let ticket = Ticket {
            number: self.issued,
            is_first,
        };
        let line = match self.lines.get_mut(tenant) {
            Some(line) => line,
            None => {
                self.order.push_back(tenant.clone());
                self.lines.entry(tenant.clone()).or_default()
            }
        };
        line.of(ticket).insert(ticket.number, id);
        ticket
    }

    /// Notes that a lane in line has an attempt out, or has none any more; it keeps its place.
    pub fn turn_into(&mut self, tenant: &Tenant, ticket: Ticket, is_first: bool) -> Ticket {
        let changed = Ticket { is_first, ..ticket };
        if changed != ticket
            && let Some(line) = self.lines.get_mut(tenant)
            && let Some(id) = line.of(ticket).remove(&ticket.number)
        {
            line.of(changed).insert(changed.number, id);
        }
        changed
    }

    /// The lane that has waited longest, of the tenant whose turn it is.
    pub fn head(&self) -> Option<(Ticket, EndpointId)> {
        let line = self.lines.get(self.order.front()?)?;
        let more = line.more.first_key_value().map(|found| ticket(found, false));
        let first = line.first.first_key_value().map(|found| ticket(found, true));
        first
            .into_iter()
            .chain(more)
            .min_by_key(|(ticket, _)| ticket.number)
    }

    /// The same, among the lanes that have no attempt out.
    pub fn first_head(&self) -> Option<(Ticket, EndpointId)> {
        let line = self.lines.get(self.order.front()?)?;
        line.first.first_key_value().map(|found| ticket(found, true))
    }

    /// Takes a lane of the tenant whose turn it is out of line; the turn passes on.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(tenant) = self.order.pop_front() else {
            return;
        };
        let Some(line) = self.lines.get_mut(&tenant) else {
            return;
        };
        line.of(ticket).remove(&ticket.number);
        if line.is_empty() {
            self.lines.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
    }

    /// The tenant whose turn it is may not go on now: passes it over until the next pass.
    pub fn pass_over(&mut self) {
        self.set_aside.extend(self.order.pop_front());
    }

    /// Begins a pass: those that were set aside are the first to be asked again.
    pub fn begin_pass(&mut self) {
        while let Some(tenant) = self.set_aside.pop() {
            self.order.push_front(tenant);
        }
    }

    pub fn clear(&mut self) {
        self.lines.clear();
        self.order.clear();
        self.set_aside.clear();
    }
}

fn ticket((&number, &id): (&u64, &EndpointId), is_first: bool) -> (Ticket, EndpointId) {
    (Ticket { number, is_first }, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(number: u8) -> EndpointId {
        EndpointId::from_bytes([number; 16])
    }

    fn tenant(name: &str) -> Tenant {
        Some(name.parse().unwrap())
    }

    fn heads(turns: &Turns) -> (Option<EndpointId>, Option<EndpointId>) {
        (
            turns.head().map(|head| head.1),
            turns.first_head().map(|head| head.1),
        )
    }

    #[test]
    fn tenants_take_turns_however_many_lanes_each_has() {
        let mut turns = Turns::default();
        for number in 1..=4 {
            turns.join(&tenant("large"), lane(number), true);
        }
        turns.join(&None, lane(9), true);
        let order: Vec<_> = std::iter::from_fn(|| {
            let (ticket, id) = turns.head()?;
            turns.leave(ticket);
            Some(id)
        })
        .collect();
        assert_eq!(order, [lane(1), lane(9), lane(2), lane(3), lane(4)]);
        assert!(turns.lines.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn a_tenant_that_is_passed_over_is_asked_first_in_the_next_pass() {
        let mut turns = Turns::default();
        turns.join(&tenant("a"), lane(1), true);
        turns.join(&tenant("b"), lane(2), true);
        turns.pass_over();
        assert_eq!(heads(&turns).0, Some(lane(2)));
        turns.pass_over();
        turns.join(&tenant("a"), lane(3), true);
        assert_eq!(heads(&turns).0, None, "the tenant stays aside");
        turns.begin_pass();
        assert_eq!(heads(&turns).0, Some(lane(1)));
    }

    #[test]
    fn a_lane_that_has_nothing_out_any_more_keeps_its_place() {
        let mut turns = Turns::default();
        let older = turns.join(&None, lane(1), false);
        turns.join(&None, lane(2), true);
        assert_eq!(heads(&turns), (Some(lane(1)), Some(lane(2))));
        let older = turns.turn_into(&None, older, true);
        assert_eq!(heads(&turns), (Some(lane(1)), Some(lane(1))));
        turns.leave(older);
        assert_eq!(heads(&turns).0, Some(lane(2)));
    }
}
