//! The heart against a plain model: random sequences of what can happen, on the real store and the real lanes.
//!
//! Records stand in a list instead of a journal, receivers are a choice of outcomes, time is virtual. The model keeps,
//! for each delivery, a few plain facts of its own and is asked at every step whether what the lanes do is allowed:
//! nothing early, nothing out twice, nothing beyond its policy, nothing to an endpoint that is held. In the end
//! everything heals, and nothing may be missing.

mod fact;
mod op;
mod past;
mod reads;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::{
    op::{Op, op},
    world::World,
};
use crate::domain::time::Timestamp;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ENDPOINTS: usize = 5;
/// What every endpoint's policy allows after the first attempt.
const RETRIES: u32 = 2;
const DELAY: Duration = Duration::from_secs(5);

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_early_doubled_or_beyond_its_policy(ops in prop::collection::vec(op(), 1..250)) {
        holds(ops);
    }
}

#[test]
fn past_histories_hold() {
    holds(past::paused_at_the_end());
}

fn holds(ops: Vec<Op>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for op in ops {
            world.run(op).await;
        }
        world.heal().await;
        world.nothing_is_missing();
        world.a_rebuilt_store_is_the_same();
    });
}
