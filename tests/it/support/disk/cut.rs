//! What a power cut leaves.

use fastrand::Rng;

/// Which of what was not synced survives.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Nothing: neither bytes nor names. A file whose directory was not synced is gone, though it was synced itself; a
    /// renamed one has its old name; a removed one is back.
    Drop,
    /// All names and no bytes: files that are there, and empty.
    Names,
    /// All bytes and no names.
    Content,
    /// Of the bytes any sectors in any of their versions, of the names any changes, whatever came before or after.
    Some,
}

impl Cut {
    pub const ALL: [Self; 4] = [Self::Drop, Self::Names, Self::Content, Self::Some];

    /// Half of them random.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..8) {
            0 | 1 => Self::Drop,
            2 => Self::Names,
            3 => Self::Content,
            _ => Self::Some,
        }
    }
}
