//! How long the hot functions take, one by one: `cargo bench --bench parts --features bench-parts [-- FILTER…]`.
//!
//! What they are stands in the library's module `bench`. Times are of one execution, which may do its thing many times:
//! the rate beside it counts each. With `--test` every one is run once.

#![allow(clippy::unwrap_used, reason = "a bench ends when its folder fails it")]

use std::cell::RefCell;

use divan::{Bencher, counter::ItemsCount};
use posthaste::bench::{Part, Room, all};

/// Deliveries of a deep schedule.
const DEPTH: u64 = 100_000;

fn main() {
    divan::main();
}

#[divan::bench(args = all(), min_time = 0.2, max_time = 2)]
fn part(bencher: Bencher<'_, '_>, part: &Part) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let room = Room {
        folder: folder.path(),
        depth: if std::env::args().any(|argument| argument == "--test") {
            1000
        } else {
            DEPTH
        },
    };
    let work = RefCell::new((part.prepare)(room));
    bencher
        .counter(ItemsCount::new(part.items))
        .with_inputs(|| (work.borrow_mut())())
        .bench_local_values(|once| once());
}
