//! Disks that fail: the real server on a disk that is told what to do wrong, under load.
//!
//! Whatever the disk does, what was answered 202 is delivered in the end; nothing is answered 202 that is not durable;
//! what passes is survived, what does not ends the server with a message that says what failed. After every fault the
//! disk is healed, the server started again if it ended, and everything looked for.

mod bench;
mod full;
mod hang;
mod journal;
mod random;
mod reads;
mod start;
mod store;
