//! What is in a directory: the names that are synced, and what was done to them since.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use fastrand::Rng;

use super::cut::Cut;

pub type Ino = u64;

#[derive(Clone, Debug)]
enum Change {
    Put(OsString, Ino),
    Remove(OsString, Ino),
    /// Within the directory: both or neither.
    Move(OsString, OsString, Ino),
}

/// A directory's names as they are listed, as they are on the device, and what lies between.
#[derive(Clone, Debug, Default)]
pub struct Names {
    now: BTreeMap<OsString, Ino>,
    durable: BTreeMap<OsString, Ino>,
    pending: Vec<Change>,
}

impl Names {
    /// Names that are there after a cut.
    pub fn synced(names: BTreeMap<OsString, Ino>) -> Self {
        Self {
            durable: names.clone(),
            now: names,
            pending: Vec::new(),
        }
    }

    pub fn get(&self, name: &OsStr) -> Option<Ino> {
        self.now.get(name).copied()
    }

    pub fn list(&self) -> impl Iterator<Item = (&OsString, Ino)> {
        self.now.iter().map(|(name, ino)| (name, *ino))
    }

    pub fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    pub fn put(&mut self, name: &OsStr, ino: Ino) {
        self.change(Change::Put(name.to_owned(), ino));
    }

    pub fn remove(&mut self, name: &OsStr) {
        if let Some(ino) = self.get(name) {
            self.change(Change::Remove(name.to_owned(), ino));
        }
    }

    pub fn rename(&mut self, from: &OsStr, to: &OsStr) {
        if let Some(ino) = self.get(from) {
            self.change(Change::Move(from.to_owned(), to.to_owned(), ino));
        }
    }

    /// All names are on the device.
    pub fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    pub fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// What is found after a cut.
    pub fn after(&self, cut: Cut, rng: &mut Rng) -> BTreeMap<OsString, Ino> {
        match cut {
            Cut::Drop | Cut::Content => self.durable.clone(),
            Cut::Names => self.now.clone(),
            Cut::Some => {
                let share = *rng.choice(&[0.1, 0.5, 0.9]).unwrap_or(&0.5);
                let mut found = self.durable.clone();
                for change in &self.pending {
                    if rng.f64() < share {
                        apply(&mut found, change);
                    }
                }
                found
            }
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }
}

/// Does what is left to do of a change, where those before it may not have been done.
fn apply(names: &mut BTreeMap<OsString, Ino>, change: &Change) {
    let mut remove = |name: &OsString, ino: Ino| {
        if names.get(name) == Some(&ino) {
            names.remove(name);
        }
    };
    match change {
        Change::Put(name, ino) => _ = names.insert(name.clone(), *ino),
        Change::Remove(name, ino) => remove(name, *ino),
        Change::Move(from, to, ino) => {
            remove(from, *ino);
            names.insert(to.clone(), *ino);
        }
    }
}
