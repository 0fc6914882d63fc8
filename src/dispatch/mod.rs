//! Decides when: what is accepted, what is sent, what is tried again, what is held.
//!
//! # The cast
//!
//! The [`engine::Engine`] is what the API calls: one set of named operations. The **applier** thread follows the
//! journal, applies each record to the store and tells the others what changed. The **scheduler** task keeps a
//! lane for each endpoint that has work, reads which deliveries are due, makes attempts and judges them.
//! The **settler** task writes verdicts to the journal. The **herald** task turns a disabled endpoint into an
//! operational event. The **verifier** task has endpoints prove themselves before they are sent to. The **registry** holds
//! endpoints and keys in memory, [`event_types`] what event types are declared.
//!
//! # The flow
//!
//! `accept` matches the event against the registry, and appends one record, event and fan-out together; when the
//! journal says it is durable the caller is answered. The applier makes rows of it and wakes the scheduler. An
//! attempt's verdict takes the same way back: scheduler → settler → journal → applier → store.
//!
//! # What it guarantees
//!
//! A delivery is in one place at a time: its schedule entry stays in the store until the record that settles it is
//! applied, and its key stays in the lane's `busy` set for as long, so that it can neither be lost nor be out twice
//! in one life of the process. What a lane reads comes later than it is asked for; changes to the lane's deliveries wait
//! for it, so that it is never older than what the lane knows. After a crash between an attempt and its record, the
//! attempt is made again.
//!
//! # What it does not
//!
//! Exactly once. Order between deliveries of one endpoint, beyond earliest due first, unless the endpoint asks for it
//! (see [`order`]).

mod accept;
pub mod apply;
mod attempt;
pub mod audit;
pub mod backup;
mod batch;
mod breaker;
mod bucket;
mod clock;
mod cloud_events;
mod conditions;
pub mod detail;
mod document;
mod edit;
mod endpoints;
pub mod engine;
pub mod erase;
pub mod error;
pub mod event_types;
pub mod explain;
mod fan_out;
mod feed;
mod herald;
mod lane;
mod lanes;
mod lifecycle;
mod lists;
mod locks;
#[cfg(feature = "bench-parts")]
pub(crate) mod measured;
#[cfg(test)]
mod model_tests;
mod notice;
mod operations;
mod order;
mod outage;
pub mod preview;
mod queries;
mod reads;
pub mod recover;
mod registry;
pub mod rollups;
mod rotation;
mod saving;
mod scheduler;
mod settler;
mod shake;
#[cfg(test)]
mod simulation;
mod slots;
mod spelling;
mod status;
mod supervision;
pub mod tenants;
mod turns;
mod veil;
mod verify;
pub mod view;
mod view_times;
mod weight;

#[cfg(test)]
use crate::storage::local::codec;
pub use crate::storage::local::codec::decode as decode_record;
#[cfg(any(test, fuzzing, feature = "bench-parts"))]
pub use crate::storage::local::codec::encode as encode_record;
pub use crate::storage::local::damage;
pub use crate::storage::local::reclaim::Retention;
#[cfg(test)]
pub(crate) use clock::History;
#[cfg(feature = "bench-parts")]
pub(crate) use lane::PAGE as LANE_PAGE;
pub use lifecycle::{Running, StartError, StartOptions};
