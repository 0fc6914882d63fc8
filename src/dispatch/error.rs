//! Why an operation was not done. A kind exists only where a caller acts differently.

pub use crate::runtime::chain::chain;
use crate::{
    domain::{endpoint::InvalidSpec, event::InvalidEvent},
    runtime::work_pool::Refused,
    storage::StorageError,
};

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such thing, and there has been none; names the kind of thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The endpoint existed and was deleted.
    #[error("the endpoint was deleted")]
    Gone,
    /// The event's payload was erased.
    #[error("the event's payload was erased; nothing of it can be sent or shown")]
    Erased,
    /// Several tenants have an event with this id, and none was named.
    #[error("several tenants have an event with this id; name one with the parameter tenant")]
    Ambiguous,
    /// The same event id, or idempotency key, came with other content.
    #[error("{0} was used before with other content")]
    DifferentContent(&'static str),
    /// The thing's present state does not allow it.
    #[error("{0}")]
    NotNow(&'static str),
    /// A member is at fault; `field` is its path in the document.
    #[error("{field}: {rule}")]
    Invalid { field: String, rule: String },
    /// Places within one member are at fault; there is at least one.
    #[error("{}", first(faults))]
    Faults { field: &'static str, faults: Vec<Fault> },
    /// More than the configured number of something.
    #[error("the limit of {limit} {what} is reached")]
    TooMany { what: &'static str, limit: usize },
    /// What the request needs is in use, or it has used up its share; the same request may succeed in a moment. Says what.
    #[error("{0}")]
    Busy(&'static str),
    /// There is too little disk space to accept more; nothing was stored.
    #[error("the disk has too little free space")]
    DiskFull,
    /// File descriptors or memory are short; nothing was stored.
    #[error("file descriptors or memory are short at the moment; try again")]
    Short,
    /// The store is being rebuilt from the journal; this needs what it does not hold yet.
    #[error("the store is being rebuilt")]
    Rebuilding,
    /// Storage did not answer in time: the disk is slow, or has much to do. The same request may succeed in a moment.
    #[error("storage did not answer in time; try again in a moment")]
    Slow,
    /// It is saved, and takes effect as soon as the store has caught up.
    #[error("the change is saved, and takes effect as soon as the store has caught up; do not repeat it")]
    NotVisible,
    /// The journal failed while it wrote: the next start shows whether it is saved.
    #[error(
        "the journal failed while it saved the change; all of it is saved, or nothing: look when the server runs again"
    )]
    Unknown,
    /// The server is shutting down, or its journal has failed.
    #[error("the server is stopping")]
    Stopping,
    /// Reading what is stored failed.
    #[error("storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The tenant has its share of the memory.
pub(super) const BUSY: EngineError = EngineError::Busy(
    "the memory for bodies that the tenant may use at once is in use; try again when some requests have ended",
);

/// A place in a document that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer, from the top of the document.
    pub pointer: String,
    pub rule: String,
}

fn first(faults: &[Fault]) -> String {
    let said = faults
        .first()
        .map(|fault| format!("{}: {}", fault.pointer, fault.rule));
    match faults.len() {
        0 | 1 => said.unwrap_or_default(),
        count => format!("{} (and {} more)", said.unwrap_or_default(), count - 1),
    }
}

impl From<Refused> for EngineError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy => {
                Self::Busy("too many requests of this tenant are at work; try again in a second")
            }
            Refused::TooLong => Self::Busy("the request needs too much computing time; ask for less at once"),
            Refused::Stopping => Self::Stopping,
        }
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotReady => Self::Rebuilding,
            StorageError::Full => Self::DiskFull,
            StorageError::Short => Self::Short,
            StorageError::Closed => Self::Stopping,
            StorageError::TooLarge { limit } => Self::Invalid {
                field: "data".to_owned(),
                rule: format!("is too large; at most {limit} bytes"),
            },
            StorageError::NotVisible => Self::NotVisible,
            StorageError::Unknown => Self::Unknown,
            StorageError::TimedOut => Self::Slow,
            error @ StorageError::Damaged => Self::Storage(Box::new(error)),
            StorageError::Failed(error) => Self::Storage(Box::new(error)),
        }
    }
}

impl From<InvalidSpec> for EngineError {
    fn from(error: InvalidSpec) -> Self {
        Self::Invalid {
            field: error.field.to_owned(),
            rule: error.rule.to_owned(),
        }
    }
}

impl From<InvalidEvent> for EngineError {
    fn from(error: InvalidEvent) -> Self {
        Self::Invalid {
            field: error.field.to_owned(),
            rule: error.rule.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_storage_is_neither_busy_nor_being_rebuilt() {
        assert!(matches!(StorageError::TimedOut.into(), EngineError::Slow));
        assert!(matches!(StorageError::NotReady.into(), EngineError::Rebuilding));
    }
}
