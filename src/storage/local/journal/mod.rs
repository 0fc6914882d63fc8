//! The durable log: what is acknowledged is in here, everything else can be made from it.
//!
//! # The cast
//!
//! Records are appended through a [`Journal`] as [`Draft`]s, whose bodies are opaque here. One **committer** thread
//! writes what has gathered as a **group** and syncs it once. Records get consecutive **lsns** and lie in
//! **segment** files, one after the other. A [`Follower`] hands them to the store in order; [`Journal::read`]
//! fetches one by its [`Location`], [`Journal::at_hand`] only if the disk need not be waited for; [`Journal::config_entries`] finds the configuration fast.
//!
//! # What it guarantees
//!
//! - A [`Durable`] value exists only after its records were synced (under [`Durability::Os`]: written).
//! - An append is written whole or, as far as readers can tell, not at all: an unfinished group at the end is cut
//!   off at the next open. After a power cut it may have holes; from the first of them on it is cut off too. Damage
//!   is told from a hole by the records behind it: one without the flag [`FOLLOWS`](entry::FOLLOWS) was written when
//!   all before it was synced.
//! - A failed sync or write is final: nobody is acknowledged any more ([`Journal::failed`]). Only a full disk is
//!   survived: the group is taken back, its callers told, and the next one tried afresh.
//! - A follower never sees a record of a durable append that is not synced. It may see a lazy one that is not.
//! - Damage never stops the boot. What cannot be read is skipped, said and counted; what can be read around it is.
//! - Nobody can forge a record by what they have written into a body: every record begins with a marker and ends
//!   its header with a checksum that both depend on 64 random bits of its segment.
//!
//! # What it does not
//!
//! It does not lock its directory, and does not know what a record is still good for: [`Journal::reclaim`] deletes the
//! segments at the front that it is told to, never one in the middle, and never rewrites one. It cannot know which of the records of a lost tail
//! a follower had seen: **their lsns are given out again**. After a power cut a store that applied unsynced lazy
//! records may lie ahead of the journal; whoever owns it compares its applied lsn with [`Recovery::last_lsn`] and
//! its journal's uuid with [`Journal::uuid`] at every open, before the first append, and rebuilds it when it is
//! ahead or of another journal. (It also rebuilds after every unclean reboot, which covers a crash in between.)
//!
//! # Files
//!
//! All integers are little endian. `LSN` is the first lsn of a segment as 16 hex digits.
//!
//! `LSN.seg`, a segment: a header and records without gaps between them.
//!
//! | offset | bytes | header of a segment |
//! |---:|---:|---|
//! | 0 | 8 | `phJournl` |
//! | 8 | 2 | format version, 1; a newer one is refused |
//! | 10 | 2 | length of this header, 64 |
//! | 12 | 4 | zero |
//! | 16 | 16 | uuid of the journal |
//! | 32 | 8 | first lsn |
//! | 40 | 8 | salt, random |
//! | 48 | 12 | zero |
//! | 60 | 4 | CRC32C of bytes 0..60 |
//!
//! | offset | bytes | record |
//! |---:|---:|---|
//! | 0 | 4 | marker: the low half of the salt, its lowest bit set |
//! | 4 | 4 | CRC32C of bytes 8.. to the end of the body, seeded with the high half of the salt |
//! | 8 | 8 | lsn |
//! | 16 | 4 | length of the body, at most 16 MiB |
//! | 20 | 1 | kind |
//! | 21 | 1 | version |
//! | 22 | 1 | flags: bit 0 [`CONFIG`], bit 1 [`FOLLOWS`](entry::FOLLOWS) |
//! | 23 | 1 | zero |
//! | 24 | | body |
//!
//! `LSN.cfg`, the sidecar of a sealed segment: `phJcfg` 01 00, the segment's header (64 bytes), the segment's length
//! (8), its last lsn (8), its number of records (8), the number *n* of configuration records (4), *n* times offset
//! (8) and length (4), CRC32C of all before (4). It also saves the header, should that be damaged.
//!
//! `floor`, once something was reclaimed: `phJflr` 01 00, the uuid (16), the lsn below which there is nothing any more (8),
//! CRC32C of all before (4). It is on the device before the first segment below it is unlinked.
//!
//! `repaired`, what is known to be missing since a repair: `phJrepr` 01, the number *n* of ranges (4), *n* times when in
//! milliseconds (8), segment (8), offset (8), bytes (8), first and last lsn that is missing (8 each, 0 for none), length
//! of a note (4) and the note, CRC32C of all before (4).
//!
//! `journal.id`: `phJuuid` 01, the uuid (16), CRC32C (4). `quarantine/`: what was cut off or moved aside. `*.tmp`: a
//! file that was being made, deleted at open. `*.seg.moved`: a segment on its way to its right name.
//!
//! # Opening
//!
//! Names, headers and sidecars are read; of the records only the newest segment's, since a segment is synced before
//! the next one exists. So a long journal opens as fast as a short one, and damage in a sealed segment is met when
//! it is read. The newest segment is cut after its last valid record, and synced before anything is built on it,
//! since records may have come from the page cache of a crashed process. A newest segment with a damaged header is
//! read on if its salt can be proved, which any two of its records do, else set aside, and the next lsn is above all
//! that it can have held. Segments below the floor are leftovers of a reclaim and deleted.

mod at_hand;
mod backup;
mod catalogue;
mod committer;
mod config_entries;
mod disk;
mod entry;
mod error;
mod files;
mod floor;
mod follower;
mod format;
mod fragment;
mod handle;
#[cfg(test)]
pub(crate) mod in_place;
mod limits;
#[cfg(feature = "bench-parts")]
pub(crate) mod measured;
mod moved;
mod options;
mod order;
mod overwrite;
mod patience;
mod pause;
mod reader;
mod reclaim;
mod recovery;
mod repair;
mod repaired;
mod report;
mod salt;
mod scan;
mod shared;
mod sidecar;
mod stats;
mod survey;
mod verify;
mod window;

#[cfg(test)]
mod tests;

pub use backup::{SegmentCopy, Snapshot};
pub use committer::Durable;
pub use entry::{Appended, CONFIG, Draft, Entry, Location, Lsn, LsnRange};
pub use error::{AppendError, Failure, OpenError, ReadError, ReclaimError};
pub use follower::{Follower, Next, Stopper};
pub use fragment::Fragment;
pub use handle::{Journal, SegmentInfo};
pub use limits::{MAX_APPEND, MAX_BODY};
pub use options::{Durability, Options};
pub use pause::Pause;
pub use reclaim::{Keep, Reclaimed, SegmentRecords};
pub use repair::Repair;
pub use repaired::Repaired;
pub use report::{AsideReason, Recovery, SetAside, TornTail};
pub use scan::BadRange;
pub use stats::Stats;
pub use verify::{SegmentReport, Verification};
