//! The parts on a disk: a group's commit, records applied to the store, a lane's next page.

use std::{cell::RefCell, path::Path, rc::Rc};

use super::{Once, Part, Room, Work, samples, words::encoded};
use crate::{
    dispatch::LANE_PAGE,
    domain::{
        id::Lsn,
        record::{Place, Record},
    },
    storage::local::index::{Placed, Store, TableOptions, open},
    storage::local::journal::{Journal, Options, measured::Measured},
    storage::schedule::FRONT,
};

/// Records of a group, and of a batch that is applied.
const GROUP: u32 = 64;
/// Any journal's identity.
const JOURNAL: [u8; 16] = [1; 16];
const TABLE: TableOptions = TableOptions {
    cache_bytes: 8 * 1024 * 1024,
    buffer_bytes: 16 * 1024 * 1024,
    indexes: crate::storage::local::index::Indexes::All,
};

pub const PARTS: &[Part] = &[
    Part {
        name: "commit a group of 64 events, not synced",
        items: GROUP,
        tolerance: Some(0.05),
        prepare: committing,
    },
    Part {
        name: "append 64 events, one group, synced",
        items: GROUP,
        tolerance: None,
        prepare: appending,
    },
    Part {
        name: "apply 64 accepted events",
        items: GROUP,
        tolerance: Some(0.05),
        prepare: applying,
    },
    Part {
        name: "apply 64 verdicts",
        items: GROUP,
        tolerance: Some(0.05),
        prepare: settling,
    },
    Part {
        name: "fold 64 accepted events and their verdicts",
        items: GROUP,
        tolerance: Some(0.05),
        prepare: folding,
    },
    Part {
        name: "a lane's next page of a deep schedule",
        items: LANE_PAGE as u32,
        tolerance: Some(0.05),
        prepare: popping,
    },
];

#[allow(clippy::expect_used, reason = "a bench's folder is there, and its disk works")]
fn committing(room: Room<'_>) -> Work {
    let journal = Measured::open(room.folder).expect("a journal");
    let journal = Rc::new(RefCell::new(journal));
    let drafts = drafts();
    Box::new(move || -> Once {
        let (first, second) = (drafts[..32].to_vec(), drafts[32..].to_vec());
        let journal = journal.clone();
        Box::new(move || {
            let committed = journal.borrow_mut().commit(first, second);
            assert_eq!(committed.expect("a group"), GROUP as usize);
        })
    })
}

#[allow(clippy::expect_used, reason = "a bench's folder is there, and its disk works")]
fn appending(room: Room<'_>) -> Work {
    let (journal, _) = Journal::open(Options::new(room.folder)).expect("a journal");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = Rc::new(runtime.expect("a runtime"));
    let drafts = drafts();
    Box::new(move || -> Once {
        let (journal, runtime, drafts) = (journal.clone(), runtime.clone(), drafts.clone());
        Box::new(move || {
            let appended = runtime.block_on(journal.append(drafts));
            appended.expect("a group");
        })
    })
}

fn drafts() -> Vec<crate::storage::local::journal::Draft> {
    (1..=GROUP)
        .map(|lsn| encoded(&Record::EventAccepted(samples::accepted(lsn.into()))))
        .collect()
}

fn applying(room: Room<'_>) -> Work {
    let mut filled = Filled::new(room.folder, room.depth);
    Box::new(move || filled.application(accepted(filled.last + 1)))
}

/// Verdicts on what was accepted last, which is accepted before, unmeasured.
fn settling(room: Room<'_>) -> Work {
    let mut filled = Filled::new(room.folder, room.depth);
    Box::new(move || {
        let first = filled.last + 1;
        filled.apply(accepted(first));
        filled.application(verdicts(first))
    })
}

/// What both have left in memory becomes pages.
#[allow(clippy::expect_used, reason = "a bench's disk works")]
fn folding(room: Room<'_>) -> Work {
    let mut filled = Filled::new(room.folder, room.depth);
    Box::new(move || -> Once {
        let first = filled.last + 1;
        filled.apply(accepted(first));
        filled.apply(verdicts(first));
        let store = filled.store.clone();
        Box::new(move || store.flush().expect("pages"))
    })
}

#[allow(clippy::expect_used, reason = "a bench's disk works")]
fn popping(room: Room<'_>) -> Work {
    let filled = Filled::new(room.folder, room.depth);
    let floor = Rc::new(RefCell::new(FRONT));
    Box::new(move || -> Once {
        let (store, floor) = (filled.store.clone(), floor.clone());
        Box::new(move || {
            let from = *floor.borrow();
            let page = store.due(samples::RECEIVER, from, samples::NOW, LANE_PAGE);
            *floor.borrow_mut() = page.expect("a page").next.unwrap_or(FRONT);
        })
    })
}

/// A store with a deep schedule.
struct Filled {
    store: Store,
    last: Lsn,
}

#[allow(clippy::expect_used, reason = "a bench's folder is there, and its disk works")]
impl Filled {
    fn new(folder: &Path, depth: u64) -> Self {
        let options = open::Options {
            data: folder.to_owned(),
            table: TABLE,
            journal: JOURNAL,
            last_lsn: 0,
            first_lsn: 1,
            trust: open::Trust::Yes,
            check_bytes: 0,
        };
        let store = open::open(&options).expect("a store").store;
        let mut filled = Self { store, last: 0 };
        while filled.last < depth {
            filled.apply(accepted(filled.last + 1));
        }
        filled.store.flush().expect("pages");
        filled
    }

    fn apply(&mut self, records: Vec<Placed>) {
        self.application(records)();
    }

    fn application(&mut self, records: Vec<Placed>) -> Once {
        self.last = records.last().map_or(self.last, |placed| placed.lsn);
        let store = self.store.clone();
        Box::new(move || drop(store.apply(JOURNAL, &records).expect("a batch")))
    }
}

fn accepted(first: Lsn) -> Vec<Placed> {
    let lsns = first..first + Lsn::from(GROUP);
    lsns.map(|lsn| placed(lsn, Record::EventAccepted(samples::accepted(lsn))))
        .collect()
}

/// Of a group's events, which are the newest records.
fn verdicts(first: Lsn) -> Vec<Placed> {
    let events = first..first + Lsn::from(GROUP);
    events
        .map(|event| {
            placed(
                event + Lsn::from(GROUP),
                Record::AttemptSettled(samples::delivered(event)),
            )
        })
        .collect()
}

fn placed(lsn: Lsn, record: Record) -> Placed {
    let place = Place {
        segment: 1,
        offset: lsn * 512,
        len: 512,
    };
    Placed { lsn, place, record }
}
