//! What is in a file: what is synced of it, and what is only written, in sectors.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::cut::Cut;

pub const SECTOR: usize = 512;
/// Versions of a sector that are remembered between two syncs; of more, the oldest are forgotten.
const VERSIONS: usize = 4;
/// The same for lengths.
const LENGTHS: usize = 64;

type Sector = Box<[u8]>;

/// A file's bytes as they are read, as they are on the device, and what lies between.
#[derive(Clone, Debug, Default)]
pub struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What the sectors written since the last sync were, oldest first.
    pending: BTreeMap<usize, Vec<Sector>>,
    /// The lengths that the file had since the last sync, oldest first, and the least of them.
    lengths: Vec<usize>,
    shortest: Option<usize>,
}

impl Content {
    /// Bytes that are there after a cut.
    pub fn synced(bytes: Vec<u8>) -> Self {
        Self {
            durable: bytes.clone(),
            now: bytes,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.now.len()
    }

    pub fn read(&self, offset: usize, len: usize) -> &[u8] {
        let start = offset.min(self.now.len());
        &self.now[start..(start + len).min(self.now.len())]
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.note_length();
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.note_sectors(offset, end);
    }

    pub fn truncate(&mut self, len: usize) {
        self.now.resize(len, 0);
        self.note_length();
        if !len.is_multiple_of(SECTOR) {
            self.note_sectors(len - len % SECTOR, len);
        }
    }

    /// Everything written is on the device.
    pub fn sync(&mut self) {
        if let Some(shortest) = self.shortest {
            self.durable.truncate(shortest);
            self.durable.resize(self.now.len(), 0);
        }
        for sector in std::mem::take(&mut self.pending).into_keys() {
            let start = (sector * SECTOR).min(self.now.len());
            let end = (start + SECTOR).min(self.now.len());
            // Shorter where an earlier sync has lost the end.
            let len = self.durable.len().max(end);
            self.durable.resize(len, 0);
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
        self.lengths.clear();
        self.shortest = None;
    }

    /// What a failed sync leaves: pages that are clean, and not on the device. The next sync has nothing to do.
    pub fn lose(&mut self) {
        self.pending.clear();
        self.lengths.clear();
        self.shortest = None;
    }

    pub fn is_synced(&self) -> bool {
        self.pending.is_empty() && self.lengths.is_empty()
    }

    /// What is found after a cut.
    pub fn after(&self, cut: Cut, rng: &mut Rng) -> Vec<u8> {
        match cut {
            Cut::Drop | Cut::Names => self.durable.clone(),
            Cut::Content => self.now.clone(),
            Cut::Some => self.some(rng),
        }
    }

    /// Any of the lengths that were there, and of each sector any version: most of the newest, or few, as a disk that
    /// had much or little time.
    fn some(&self, rng: &mut Rng) -> Vec<u8> {
        let newest = *rng.choice(&[0.0, 0.5, 0.9, 1.0]).unwrap_or(&0.0);
        let mut lengths = self.lengths.clone();
        lengths.insert(0, self.durable.len());
        let len = if rng.f64() < newest {
            self.now.len()
        } else {
            lengths[rng.usize(..lengths.len())]
        };
        let mut found = self.durable.clone();
        found.resize(len, 0);
        for (sector, versions) in &self.pending {
            let version = if rng.f64() < newest {
                versions.last()
            } else {
                // One more than there are: what was there before all of them.
                versions.get(rng.usize(..=versions.len()))
            };
            let start = sector * SECTOR;
            if let (Some(version), true) = (version, start < len) {
                let end = (start + SECTOR).min(len);
                found[start..end].copy_from_slice(&version[..end - start]);
            }
        }
        found
    }

    fn note_length(&mut self) {
        let len = self.now.len();
        if self.lengths.len() == LENGTHS {
            self.lengths.remove(0);
        }
        self.lengths.push(len);
        self.shortest = Some(self.shortest.map_or(len, |shortest| shortest.min(len)));
    }

    fn note_sectors(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let from = sector * SECTOR;
            let bytes = self.read(from, SECTOR);
            let mut version = vec![0; SECTOR].into_boxed_slice();
            version[..bytes.len()].copy_from_slice(bytes);
            let versions = self.pending.entry(sector).or_default();
            if versions.len() == VERSIONS {
                versions.remove(0);
            }
            versions.push(version);
        }
    }
}
