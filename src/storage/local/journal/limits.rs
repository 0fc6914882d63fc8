//! Every fixed bound of the journal, each with its why. What an operator may set is in [`Options`](super::Options).

use std::time::Duration;

/// The body of one record, in bytes. An event is at most 256 KiB unless an operator raises that; this leaves room
/// and still bounds what a damaged length can make a reader load.
pub const MAX_BODY: usize = 16 * 1024 * 1024;
/// The encoded records of one append, in bytes: they are written in one piece, so they must fit in memory twice.
pub const MAX_APPEND: usize = 32 * 1024 * 1024;
/// How long a figure for free space is believed; in between, what was written since is subtracted from it.
pub(super) const FREE_SPACE_AGE: Duration = Duration::from_millis(100);
/// How many times `segment_bytes` a segment may become while descriptors or memory for the next one are short. The
/// newest segment is read whole at a start, so this has an end too.
pub(super) const OVERSIZE: u64 = 2;
/// Segment files kept open for reading.
pub(super) const OPEN_FILES: usize = 32;
/// What is read at once of records that are wanted one after the other, in bytes: some hundred of a common size.
pub(super) const AHEAD_BYTES: usize = 64 * 1024;
/// Pieces of that size kept: so many places of the journal can be read from in turn.
pub(super) const AHEAD_PIECES: usize = 8;
/// What a sequential reader loads at once, in bytes.
pub(super) const READ_CHUNK: usize = 1024 * 1024;
/// The piece in which a region is read again after the device reported an error there: one sector of 4 KiB.
pub(super) const REREAD_BLOCK: usize = 4096;
/// How often a device that reported an error is asked again, and the pause before each time: three seconds in all for
/// one segment, as a controller needs to find its disk again. It is what a bad sector costs a start.
pub(super) const REREAD_TRIES: u32 = 12;
pub(super) const REREAD_PAUSE: Duration = Duration::from_millis(250);
/// Of the newest segment's end, what is written again after a crash, in bytes: one append at its largest. More is not
/// unsynced at any moment, since the group after it waits for its sync.
pub(super) const REWRITTEN_END: u64 = MAX_APPEND as u64;
/// Damaged ranges remembered for reports; further ones are only counted.
pub(super) const REMEMBERED_DAMAGE: usize = 1024;
/// Segments of which it is remembered where their records stand, when they do not stand in their order: up to 24 bytes
/// a record. More of them at once are read through again.
pub(super) const MOVED_SEGMENTS: usize = 64;
/// Of a damaged range so many bytes are looked through for what stood in it.
pub(super) const FRAGMENT_BYTES: usize = 4 * 1024 * 1024;
/// Records that are named of one damaged range; the first say enough of a range that held thousands.
pub(super) const FRAGMENTS: usize = 256;
/// Of a damaged record so much of its body is kept: its id stands in front, and most bodies fit whole.
pub(super) const FRAGMENT_BODY: usize = 64 * 1024;
/// The list of repairs is read into memory whole: a larger file is not one.
pub(super) const REPAIRED_BYTES: u64 = 16 * 1024 * 1024;
/// The words of one repair, in bytes; what names more events than fit is cut.
pub(super) const REPAIR_NOTE: usize = 16 * 1024;
/// A sidecar larger than this is not believed: 64 MiB hold five million configuration records.
pub(super) const SIDECAR_BYTES: u64 = 64 * 1024 * 1024;
/// Sequence numbers are 50 bits wide in the ids made from them; a file name that claims more is not believed.
pub(super) const MAX_LSN: u64 = (1 << 50) - 1;
