//! The receiver's bounds, each with its why. Connections and their deadlines are `cli::receiver`'s.

use std::time::Duration;

/// A body at the most, unless `--max-body` says otherwise: room for what the systems of the table send, and for 256
/// connections at once in a quarter of a gigabyte.
pub const BODY_BYTES: u64 = 1024 * 1024;
/// What `--max-body` may say: above the largest payload a server can be set to take, base64 and escapes included.
pub const BODY_BYTES_MOST: u64 = 64 * 1024 * 1024;
/// Ids remembered to tell a repeat: those of any sender's last hours of retries, in 5 MB at the most.
pub const SEEN: usize = 10_000;
/// An id or a type at the most, as a server takes them; a longer id gives way to a hash.
pub const NAME_BYTES: usize = 256;
/// A challenge at the most; senders' have less than a hundred letters.
pub const CHALLENGE_BYTES: usize = 4096;
/// Letters of a body that are shown to people.
pub const EXCERPT: usize = 400;
/// Lines waiting to be printed. A reader of stdout that is slower than that slows the answers down.
pub const LINES: usize = 256;
/// `--delay` at the most: above any sender's patience.
pub const DELAY_SECS: u64 = 3600;
/// Time for the calls under way, and then for the lines, when told to end.
pub const GRACE: Duration = Duration::from_secs(5);
/// Time for a row to be stored, connecting included, before the sender is asked to come again: below the 15 s that
/// servers wait for an answer.
pub const STORE_WAIT: Duration = Duration::from_secs(10);
/// Time for a statement in PostgreSQL, after which it gives up by itself. Below the time for a row, so that none is left
/// waiting there for a lock while its caller has gone.
pub const STATEMENT_WAIT: Duration = Duration::from_secs(8);
/// Time for a connection to PostgreSQL.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// After a connection to PostgreSQL has failed, none is tried for so long: calls are not to queue up behind tries.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Time for another program to let go of the SQLite file. Below the time for a row.
pub const BUSY_WAIT: Duration = Duration::from_secs(4);
/// Rows waiting for SQLite: one for each connection there may be.
pub const STORE_QUEUE: usize = 256;
/// Rows of one transaction in SQLite: what has gathered while the last one was synced.
pub const STORE_BATCH: usize = 256;
