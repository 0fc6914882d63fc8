//! What is measured of the parts: a table of hot functions, each with its input, for whatever counts or times them.
//!
//! `benches/parts` times them, `benches/counts` counts their instructions. Both see nothing but [`all`]: what a part is
//! made of stands here, so that a function may change its form without the benches. Inputs are the same in every run.

mod queue;
mod samples;
mod words;

use std::path::Path;

/// One execution with its input ready; what it gives is dropped in it.
pub type Once = Box<dyn FnOnce()>;

/// Makes executions, one after the other.
pub type Work = Box<dyn FnMut() -> Once>;

/// Where and how large a part may be.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// An empty folder.
    pub folder: &'a Path,
    /// Deliveries of a schedule that is to be deep.
    pub depth: u64,
}

/// A hot function.
#[derive(Clone, Copy)]
pub struct Part {
    pub name: &'static str,
    /// How often one execution does it.
    pub items: u32,
    /// The share by which its instructions may grow before it is said; none where they say nothing, since it waits.
    pub tolerance: Option<f64>,
    pub prepare: fn(Room<'_>) -> Work,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every part, in the order of an event's way.
pub fn all() -> Vec<Part> {
    [words::ARRIVING, queue::PARTS, words::LEAVING].concat()
}

/// An execution of `times` repetitions of something that needs no input of its own.
fn repeated<T>(times: u32, mut work: impl FnMut() -> T + Clone + 'static) -> Once {
    Box::new(move || {
        for _ in 0..times {
            std::hint::black_box(work());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_twice_and_has_a_name_of_its_own() {
        let parts = all();
        let names: std::collections::BTreeSet<_> = parts.iter().map(|part| part.name).collect();
        assert_eq!(names.len(), parts.len());
        for part in parts {
            let folder = tempfile::tempdir().unwrap();
            let room = Room {
                folder: folder.path(),
                depth: 500,
            };
            let mut work = (part.prepare)(room);
            (0..2).for_each(|_| work()());
        }
    }
}
