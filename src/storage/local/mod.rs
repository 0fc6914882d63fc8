//! Storage in one data folder.
//!
//! The [`journal`] is the truth: every change is a record there before it is acknowledged. The [`index`] arranges the same
//! facts by key, and can always be made again from the journal.

pub mod codec;
pub mod index;
pub mod journal;
mod served;

pub use served::ServedIndex;
