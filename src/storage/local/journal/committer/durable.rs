use std::ops::Deref;

/// Proof that the records behind `T` are on disk, as far as the journal's [`Durability`](crate::storage::local::journal::Durability)
/// goes: under `Fsync` they are synced, under `Os` they are written.
///
/// Only the committer can make one, so what asks for a `Durable` cannot be reached before the sync:
/// the field is private and the constructor is visible to the committer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }

    pub fn into_inner(self) -> T {
        self.0
    }

    /// The proof carried over to what was made from the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Durable<U> {
        Durable(make(self.0))
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
