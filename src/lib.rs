//! posthaste: durable webhook delivery in one binary.
//!
//! # The map
//!
//! An event flows one way: `api` → `dispatch` (fan-out) → `storage` (durable, then the queue) → `dispatch` (scheduler)
//! → `sender` → `dispatch` (settle) → `storage`.
//!
//! - [`domain`]: nouns and rules, pure.
//! - [`wire`]: how an event becomes bytes for a receiver, pure.
//! - [`storage`]: keeps events, deliveries, attempts and configuration. `storage::local` keeps them in one folder: a
//!   journal, which is the truth, and an index in sled.
//! - [`sender`]: HTTP out; the only place that names a hyper client for deliveries.
//! - `dispatch`: decides when.
//! - `api`: HTTP in, over the unix socket and TCP.
//! - [`cli`]: one file per command; `cli::serve` alone wires everything.
//! - [`config`], [`telemetry`], [`runtime`]: leaf helpers.
//!
//! docs/ARCHITECTURE.md has the long form, and a test checks the direction of imports.

pub mod api;
#[cfg(feature = "bench-parts")]
#[doc(hidden)]
pub mod bench;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod runtime;
pub mod sender;
pub mod storage;
pub mod telemetry;
pub mod wire;
