//! Random operations, beside a small model that says in plain terms what has to be there.

mod model;
mod world;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use self::world::World;
use super::{Local, Memory, Rebuilt, RemoteMemory, Subject};
use crate::runtime::seed::{is_soak, seed};

/// What can happen. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    /// Several callers at once bring events with these names to the endpoints of a set of bits.
    Accept {
        names: Vec<u8>,
        to: u8,
        delay: u8,
    },
    /// An attempt of some scheduled delivery ends so.
    Settle(u8, Ending),
    Retry(u8),
    Cancel(u8),
    Replay(u8, u8),
    Erase(u8),
    Delete(u8),
    /// Nothing can be read for a moment.
    Interrupt,
    Crash,
}

#[derive(Copy, Clone, Debug)]
enum Ending {
    Delivered,
    Failed,
    Again(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![
        2 => Just(Ending::Delivered),
        1 => Just(Ending::Failed),
        3 => (1..200u8).prop_map(Ending::Again),
    ];
    let names = prop::collection::vec(0..60u8, 1..6);
    prop_oneof![
        8 => (names, any::<u8>(), prop_oneof![3 => Just(0), 1 => 1..100u8])
            .prop_map(|(names, to, delay)| Op::Accept { names, to, delay }),
        8 => (any::<u8>(), ending).prop_map(|(which, ending)| Op::Settle(which, ending)),
        3 => any::<u8>().prop_map(Op::Retry),
        3 => any::<u8>().prop_map(Op::Cancel),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(event, to)| Op::Replay(event, to)),
        1 => any::<u8>().prop_map(Op::Erase),
        1 => any::<u8>().prop_map(Op::Delete),
        1 => Just(Op::Interrupt),
        1 => Just(Op::Crash),
    ]
}

/// Runs so many random histories, or ten times as many in the nightly form.
fn hold<S: Subject>(cases: u32, paused: bool) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed("POSTHASTE_INTERLEAVINGS_SEED").to_le_bytes());
    let config = Config {
        cases: if is_soak() { cases * 10 } else { cases },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let histories = prop::collection::vec(op(), 1..80);
    let held = TestRunner::new_with_rng(config, rng).run(&histories, |ops| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(paused)
            .build()
            .unwrap();
        runtime.block_on(World::<S>::play(ops));
        Ok(())
    });
    if let Err(error) = held {
        panic!("{error}");
    }
}

#[test]
fn memory_holds_random_histories() {
    hold::<Memory>(100, true);
}

#[test]
fn remote_memory_holds_random_histories() {
    hold::<RemoteMemory>(100, true);
}

#[test]
fn local_holds_random_histories() {
    hold::<Local>(5, false);
}

#[test]
fn rebuilt_local_holds_random_histories() {
    hold::<Rebuilt>(3, false);
}
