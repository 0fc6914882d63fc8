//! What happened, line by line: what two runs of one seed must agree on, byte for byte.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

/// Lines kept to be shown when a rule is broken.
const SHOWN: usize = 60;
/// And after the first.
const SHOWN_AFTER: u64 = 10;

#[derive(Default)]
pub(super) struct Log {
    hash: Sha256,
    lines: u64,
    tail: VecDeque<String>,
    /// The line at which the first rule was broken.
    marked: Option<u64>,
    /// Everything, where it is asked for.
    whole: Option<Vec<String>>,
}

impl Log {
    pub fn whole() -> Self {
        Self {
            whole: Some(Vec::new()),
            ..Self::default()
        }
    }

    pub fn line(&mut self, at_millis: u64, text: &str) {
        let line = format!("{at_millis:>12} {text}");
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.lines += 1;
        if let Some(whole) = &mut self.whole {
            whole.push(line.clone());
        }
        if self
            .marked
            .is_some_and(|marked| self.lines > marked + SHOWN_AFTER)
        {
            return;
        }
        if self.tail.len() == SHOWN {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// A rule is broken here: what is shown ends soon after.
    pub fn mark(&mut self) {
        self.marked.get_or_insert(self.lines);
    }

    pub const fn lines(&self) -> u64 {
        self.lines
    }

    pub fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    pub fn take_whole(&mut self) -> Vec<String> {
        self.whole.take().unwrap_or_default()
    }
}
