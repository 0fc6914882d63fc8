//! The client's bounds, each with its why. The server's are in `domain::limits` and the configuration.

use std::time::Duration;

/// An answer at the most: 10,000 results of a batch, or 500 rows with their answers' excerpts, with room to
/// spare.
pub const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Data read for one event: above the largest payload that a server can be set to take, so that it is the
/// server who refuses.
pub const DATA_BYTES: u64 = 32 * 1024 * 1024;
/// A file of endpoints: 10,000 of them with room to spare, and less than the server takes at once.
pub const ENDPOINTS_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Lines and bytes of one request of `send --batch`: well below what a server takes by default (10,000 and 64 MiB), and
/// enough that the journal's sync is shared by many.
pub const BATCH_LINES: usize = 5000;
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Lines of a batch that are read ahead: the reader is never waited for, and holds little.
pub const LINES_AHEAD: usize = 256;
/// How long the source of a batch may pause before the lines it has given are sent.
pub const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// One read of a batch.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Time for a connection. The unix socket answers at once or is dead; TCP may cross a slow link.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Time for an answer, but to a batch, which lasts as long as it streams. Above an attempt's longest default,
/// for `endpoint test`.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Rows asked for at once.
pub const PAGE_ROWS: usize = 500;
/// Events or failed deliveries that one request of `endpoint recover` looks at: some tenths of a second, so that the
/// progress is seen to move.
pub const RECOVER_PORTION: u64 = 5000;
/// `send --wait`: the first pause between two looks, doubled up to the second.
pub const POLL_FIRST: Duration = Duration::from_millis(25);
pub const POLL_LAST: Duration = Duration::from_secs(1);
/// Levels of an object that are laid out line by line; deeper ones are printed as JSON.
pub const DETAIL_DEPTH: usize = 4;
/// A backup's manifest: some hundred bytes for each segment, of which 100,000 hold some terabytes.
pub const MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
