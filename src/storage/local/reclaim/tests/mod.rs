//! Reclaim over a real journal with tiny segments and real stores.
//!
//! `POSTHASTE_RECLAIM_ROUNDS` sets how many random histories are gone through, `POSTHASTE_RECLAIM_SEED` repeats one.

mod expected;
mod histories;
mod rollups;
mod single;
mod world;
