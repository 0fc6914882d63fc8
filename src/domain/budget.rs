//! What an expression of somebody else's may spend: one number that only falls.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of text that weigh as much as one value.
const BYTES_PER_UNIT: u64 = 64;

/// Work that is left. A unit is about one value looked at or copied, or 64 bytes of text.
///
/// It is shared by reference with a library's callbacks, hence the atomic; one evaluation has it to itself.
#[derive(Debug)]
pub struct Budget(AtomicU64);

/// The budget is spent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its budget is spent")]
pub struct Spent;

impl Budget {
    pub const fn new(units: u64) -> Self {
        Self(AtomicU64::new(units))
    }

    /// Takes so many units. Once it cannot be paid in full, nothing is left for anybody.
    ///
    /// # Errors
    /// `Spent`, from then on always.
    pub fn charge(&self, units: u64) -> Result<(), Spent> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(units.max(1));
        self.0.store(left.unwrap_or_default(), Ordering::Relaxed);
        left.map(|_| ()).ok_or(Spent)
    }

    /// Takes what a text of so many bytes weighs.
    ///
    /// # Errors
    /// `Spent`, from then on always.
    pub fn charge_text(&self, bytes: usize) -> Result<(), Spent> {
        self.charge(1 + bytes as u64 / BYTES_PER_UNIT)
    }

    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_paid_in_full_takes_the_rest() {
        let budget = Budget::new(10);
        assert_eq!((budget.charge(4), budget.is_spent()), (Ok(()), false));
        assert_eq!(budget.charge(7), Err(Spent));
        assert_eq!((budget.charge(0), budget.is_spent()), (Err(Spent), true));
    }

    #[test]
    fn a_text_weighs_by_its_bytes() {
        let budget = Budget::new(3);
        assert_eq!(budget.charge_text(64), Ok(()));
        assert_eq!(budget.charge_text(63), Ok(()));
        assert_eq!(budget.charge_text(0), Err(Spent));
    }
}
