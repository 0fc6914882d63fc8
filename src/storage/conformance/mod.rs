//! One suite that every storage passes.
//!
//! # Parts
//!
//! A [`Subject`] is a storage under test: it is opened with a [`Recorder`] in the engine's place, its process can be killed
//! and begun again, its reads interrupted. A [`Bench`] is a subject at work, with what rules ask of it in one line
//! ([`bench`]); [`parts`] makes events, attempts and configuration. Each family of rules is a file, each rule a function, and
//! each is a test of its own for every subject:
//!
//! - `memory`: [`MemoryStorage`](super::memory::MemoryStorage) as it is
//! - `remote`: the same at the other end of a slow network, where commits come late and out of order
//! - `local`: [`LocalStorage`](super::local::LocalStorage), killed between two of its steps
//! - `rebuilt`: the same, which loses its index whenever it is killed
//!
//! [`interleavings`] runs random operations beside a small model.
//!
//! # A new engine
//!
//! A new engine implements [`Subject`], adds itself to the macro `rules`, and passes.

mod bench;
mod changes;
mod claims;
mod configuration;
mod crash;
mod deliveries;
mod events;
mod interleavings;
mod local;
mod outcomes;
mod parts;
mod queries;
mod recorder;
mod rollups;
mod schedule;
mod subject;

use self::{
    bench::Bench,
    local::{Local, Rebuilt},
    recorder::Recorder,
    subject::{Memory, RemoteMemory, Subject},
};

/// Makes each rule a test for each subject.
macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        $crate::storage::conformance::tests_of!(memory, Memory, start_paused = true; $($rule),+);
        $crate::storage::conformance::tests_of!(remote, RemoteMemory, start_paused = true; $($rule),+);
        $crate::storage::conformance::tests_of!(local, Local, flavor = "current_thread"; $($rule),+);
    };
}

/// The same for rules about what a crash leaves.
macro_rules! crash_rules {
    ($($rule:ident),+ $(,)?) => {
        $crate::storage::conformance::rules!($($rule),+);
        $crate::storage::conformance::tests_of!(rebuilt, Rebuilt, flavor = "current_thread"; $($rule),+);
    };
}

macro_rules! tests_of {
    ($name:ident, $subject:ident, $option:ident = $value:literal; $($rule:ident),+) => {
        mod $name {
            $(
                #[tokio::test($option = $value)]
                async fn $rule() {
                    use $crate::storage::conformance::{Bench, $subject};
                    super::$rule(Bench::<$subject>::open().await).await;
                }
            )+
        }
    };
}

use {crash_rules, rules, tests_of};
