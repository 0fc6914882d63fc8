//! What the program says about itself: log lines on stderr, and metrics.
//!
//! # The cast
//!
//! [`init`] sets the log up, once, and makes panics part of it; a [`queue`] keeps whatever happens to stderr away from
//! those who log. [`names`] holds every metric's name, unit and
//! help; [`metrics`] holds one small function for each thing that is counted, so that no other file names a
//! metric. [`Metrics`] renders them for Prometheus.
//!
//! # What it guarantees
//!
//! Labels are bounded: their values are words of the code (`&'static str`), never a URL, an id or a tenant.
//! Every series with a fixed set of labels exists from the start, at zero, so that a rate over it is right
//! from the first event on.
//!
//! # What it does not
//!
//! It opens no port: `GET /metrics` is the API's. It never sees a payload, a secret or a header.

mod export;
mod log;
pub mod metrics;
pub mod names;
mod queue;

pub use export::{AlreadyInstalled, Metrics};
pub use log::{FlushAtEnd, InitError, LogSettings, init, say, set_level};
