//! Why storage did not do something. A kind exists only where a caller acts differently.

use super::Unread;

/// Why an operation of storage failed. Nothing of the operation is stored, unless it says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// What was asked is not there to be read at the moment: it is being opened, or made again. Try again in a second.
    #[error("storage is not ready: its index is being opened or rebuilt")]
    NotReady,
    /// There is too little space. People have to make some; what may wait is tried again.
    #[error("there is too little free space")]
    Full,
    /// File descriptors, memory or connections are short. Try again in a moment.
    #[error("file descriptors or memory are short at the moment")]
    Short,
    /// The disk or the network did not answer in time. Try again in a moment.
    #[error("storage did not answer in time")]
    TimedOut,
    /// Storage is closed, or has failed for good: nothing is written any more. The process ends.
    #[error("storage is closed")]
    Closed,
    /// One thing is larger than storage keeps.
    #[error("it is too large; at most {limit} bytes")]
    TooLarge { limit: usize },
    /// It is stored, but what reads it has not caught up. Do not try again: look again later.
    #[error("it is stored, but not visible yet")]
    NotVisible,
    /// Storage failed while it wrote: it is stored whole, or not at all. The process ends, and the next start shows which.
    #[error("storage failed while it wrote; the next start shows whether it is stored")]
    Unknown,
    /// What is stored cannot be read any more, now or later.
    #[error("what is stored is damaged")]
    Damaged,
    /// A read or a write failed. Trying again may help; somebody should look.
    #[error("storage failed")]
    Failed(#[source] std::sync::Arc<dyn std::error::Error + Send + Sync>),
}

impl From<Unread> for StorageError {
    fn from(why: Unread) -> Self {
        match why {
            Unread::Damaged => Self::Damaged,
            Unread::NotNow => Self::TimedOut,
        }
    }
}
