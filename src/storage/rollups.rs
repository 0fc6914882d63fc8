//! How much happened, minute by minute and hour by hour.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::{
    rollup::{Interval, Rollup, Series},
    time::Timestamp,
};

/// Which rollups are wanted: those of the intervals from the one that `since` is in to the one that `until` is in.
#[derive(Clone, Debug)]
pub struct RollupQuery {
    pub series: Series,
    pub interval: Interval,
    pub since: Timestamp,
    pub until: Timestamp,
}

/// Rollups of one series.
#[derive(Clone, Debug, Default)]
pub struct RollupsRead {
    /// Each with the beginning of its interval, earliest first. An interval in which nothing happened is left out.
    pub intervals: Vec<(Timestamp, Rollup)>,
    /// In one of the intervals there were more tenants, or endpoints, than have a rollup of their own: something of this one may
    /// be missing.
    pub left_out: bool,
}

/// Rollups. They are kept longer than the events and attempts that they count.
///
/// Each event is counted once, in the interval in which it was accepted; each attempt of a delivery once, in the
/// interval in which it ended.
#[async_trait]
pub trait Rollups: Send + Sync {
    /// *Read your writes*: what was durable when it was called is counted. Nothing where no rollups are kept.
    ///
    /// # Errors
    /// `NotReady`, `TimedOut`, `Short` and `Failed`: try again later.
    async fn rollups(&self, query: RollupQuery) -> Result<Option<RollupsRead>, StorageError>;
}
