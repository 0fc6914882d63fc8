//! Thousands of harmed copies of one journal: what is sound is read, nothing else is handed out.
//!
//! `POSTHASTE_CORRUPTIONS` sets how many copies are harmed, `POSTHASTE_CORRUPTION_SEED` with which the first is; the
//! next has the next one, so that a failure is repeated by the seed that it names and a count of 1.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;

use super::{
    all_after, dir, draft,
    harm::{Harm, inflict},
};
use crate::runtime::seed::{is_soak, number, seed};
use crate::storage::local::journal::{
    CONFIG, Draft, Entry, Journal, Lsn, Options, Verification,
    disk::{Disk, RealDisk},
    repair,
};

/// Copies in an ordinary run, and in a long one.
const COPIES: u64 = 120;
const MANY: u64 = 20_000;

/// A disk that says it has synced. What is tested is what is read.
struct Hasty(RealDisk);

impl Disk for Hasty {
    fn sync_data(&self, _: &fs::File) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn open(folder: &Path) -> (Journal, crate::storage::local::journal::Recovery) {
    let options = Options {
        segment_bytes: 16 * 1024,
        min_free_bytes: 0,
        ..Options::new(folder)
    };
    Journal::open_on(options, Arc::new(Hasty(RealDisk::new()))).unwrap()
}

/// Several segments of records of all sizes.
struct Base {
    folder: tempfile::TempDir,
    entries: BTreeMap<Lsn, Entry>,
    /// The bytes of each record with its header.
    raw: BTreeMap<Lsn, Vec<u8>>,
}

impl Base {
    async fn make() -> Self {
        let folder = dir();
        let mut rng = Rng::with_seed(7);
        let (journal, _) = open(folder.path());
        for _ in 0..150 {
            let drafts = (0..rng.usize(1..4)).map(|_| some_draft(&mut rng)).collect();
            journal.append(drafts).await.unwrap();
        }
        let entries: BTreeMap<_, _> = all_after(&journal, 0)
            .into_iter()
            .map(|entry| (entry.lsn, entry))
            .collect();
        assert!(journal.segments().len() > 4);
        drop(journal);
        let raw = |entry: &Entry| {
            let file = fs::read(path_of(folder.path(), entry.location.segment)).unwrap();
            let start = entry.location.offset as usize;
            file[start..start + entry.location.len as usize].to_vec()
        };
        let raw = entries.iter().map(|(lsn, entry)| (*lsn, raw(entry))).collect();
        Self { folder, entries, raw }
    }

    /// The records that no harm has touched: their bytes stand at their place in every file that says it is their
    /// segment, and that file can be known for what it is.
    fn sound(&self, folder: &Path) -> Vec<Lsn> {
        let segments: Vec<(Option<Lsn>, Lsn, Vec<u8>)> = files(folder)
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".seg");
                let named = name.and_then(|name| Lsn::from_str_radix(name, 16).ok());
                let bytes = fs::read(&path).unwrap();
                let header = crate::storage::local::journal::format::SegmentHeader::decode(&bytes);
                let says = header.ok().map(|header| header.first);
                (says.is_some() || named.is_some()).then(|| (says, named.unwrap_or_default(), bytes))
            })
            .collect();
        let stands = |bytes: &[u8], entry: &Entry| {
            let (start, len) = (entry.location.offset as usize, entry.location.len as usize);
            bytes.get(start..start + len) == Some(&self.raw[&entry.lsn][..])
        };
        let is_sound = |entry: &Entry| {
            let of_it = |says: &Option<Lsn>, named: Lsn| says.unwrap_or(named) == entry.location.segment;
            let mut found = segments
                .iter()
                .filter(|(says, named, _)| of_it(says, *named))
                .peekable();
            let neighbour = |bytes: &[u8]| {
                let near = [entry.lsn - 1, entry.lsn + 1];
                let near = near.iter().filter_map(|lsn| self.entries.get(lsn));
                near.filter(|near| near.location.segment == entry.location.segment)
                    .any(|near| stands(bytes, near))
            };
            found.peek().is_some()
                && found.all(|(says, _, bytes)| stands(bytes, entry) && (says.is_some() || neighbour(bytes)))
        };
        let sound = self.entries.values().filter(|entry| is_sound(entry));
        sound.map(|entry| entry.lsn).collect()
    }
}

fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = dir();
    for path in files(folder) {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn some_draft(rng: &mut Rng) -> Draft {
    let len = match rng.u8(0..10) {
        0 => 0,
        1..8 => rng.usize(1..300),
        8 => rng.usize(300..3000),
        _ => rng.usize(3000..9000),
    };
    let body: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
    Draft {
        kind: rng.u8(1..13),
        flags: if rng.u8(0..8) == 0 { CONFIG } else { 0 },
        ..draft(body)
    }
}

fn path_of(folder: &Path, segment: Lsn) -> PathBuf {
    folder.join(format!("{segment:016x}.seg"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Whether a report names the record: as missing, or as part of what cannot be told.
fn names(report: &Verification, lsn: Lsn) -> bool {
    let within = |range: &crate::storage::local::journal::LsnRange| (range.first..=range.last).contains(&lsn);
    let last = report
        .segments
        .iter()
        .map(|segment| segment.last)
        .max()
        .unwrap_or(0);
    report.missing.iter().any(within) || lsn > last
}

/// One harmed copy; answers how many records were lost, or what is wrong.
async fn run(base: &Base, rng: &mut Rng) -> (Vec<Harm>, Result<usize, String>) {
    let harmed = copy(base.folder.path());
    let folder = harmed.path();
    let all = files(folder);
    let harms: Vec<Harm> = (0..rng.usize(1..4)).map(|_| inflict(&all, rng)).collect();
    let sound = base.sound(folder);
    let other = copy(folder);
    let result = judge(base, folder, &sound).await;
    let result =
        result.and_then(|found| mended(other.path(), &found).map(|()| base.entries.len() - found.len()));
    (harms, result)
}

async fn judge(base: &Base, folder: &Path, sound: &[Lsn]) -> Result<Vec<Lsn>, String> {
    let report = Journal::verify(folder).map_err(|error| error.to_string())?;
    let (journal, recovery) = open(folder);
    let found = all_after(&journal, 0);
    if !found.windows(2).all(|pair| pair[0].lsn < pair[1].lsn) {
        return Err("not in order".to_owned());
    }
    for entry in &found {
        let Some(written) = base.entries.get(&entry.lsn) else {
            return Err(format!("{} was never written", entry.lsn));
        };
        let same = |entry: &Entry| (entry.kind, entry.version, entry.flags, entry.body.clone());
        if same(written) != same(entry) {
            return Err(format!("{} is not what was written", entry.lsn));
        }
    }
    let lsns: std::collections::BTreeSet<Lsn> = found.iter().map(|entry| entry.lsn).collect();
    let config: std::collections::BTreeSet<Lsn> = journal
        .config_entries()
        .filter_map(|entry| entry.ok().map(|entry| entry.lsn))
        .collect();
    for lsn in sound {
        let entry = &base.entries[lsn];
        if !lsns.contains(lsn) {
            return Err(format!("{lsn} is sound and was not read; {recovery}"));
        }
        if journal.read(entry.location).map(|read| read.body).ok().as_ref() != Some(&entry.body) {
            return Err(format!("{lsn} cannot be read by its place"));
        }
        if entry.flags & CONFIG != 0 && !config.contains(lsn) {
            return Err(format!("{lsn} is not among the configuration"));
        }
    }
    let lost: Vec<Lsn> = base
        .entries
        .keys()
        .filter(|lsn| !lsns.contains(lsn))
        .copied()
        .collect();
    let unnamed = lost.iter().find(|lsn| !names(&report, **lsn));
    if let Some(lsn) = unnamed {
        return Err(format!("{lsn} is lost and not named: {report:?}"));
    }
    if !lost.is_empty() && !base_is_shorter(base, &report) && report.is_whole() {
        return Err(format!("{} records are lost and nothing is said", lost.len()));
    }
    again(folder, journal, &found, recovery.last_lsn).await?;
    Ok(lsns.into_iter().collect())
}

/// A repair leaves every readable record, and nothing to complain of.
fn mended(folder: &Path, found: &[Lsn]) -> Result<(), String> {
    let disk = Hasty(RealDisk::new());
    let repaired = || {
        repair::repair(folder, &disk, 1, &|_, fragments| {
            format!("{} pieces", fragments.len())
        })
    };
    repaired().map_err(|error| error.to_string())?;
    let report = Journal::verify(folder).map_err(|error| error.to_string())?;
    if !report.is_whole() {
        return Err(format!("repaired, and not whole: {report:?}"));
    }
    let twice = repaired().map_err(|error| error.to_string())?;
    if !twice.rewritten.is_empty() || !twice.kept.is_empty() || !twice.noted.is_empty() {
        return Err(format!("repaired twice: {twice:?}"));
    }
    let (journal, recovery) = open(folder);
    if recovery.is_damaged() {
        return Err(format!("repaired, and found damaged: {recovery}"));
    }
    let after: Vec<Lsn> = all_after(&journal, 0).iter().map(|entry| entry.lsn).collect();
    if after != found || journal.stats().damaged_ranges > 0 {
        return Err(format!(
            "read before the repair: {found:?}, after: {after:?}, {:?}",
            journal.damaged()
        ));
    }
    Ok(())
}

/// A segment that ends with a record, and no trace of what stood behind it, is as whole as can be told.
fn base_is_shorter(base: &Base, report: &Verification) -> bool {
    let last = report.segments.last().map_or(0, |segment| segment.last);
    base.entries.last_key_value().is_some_and(|(lsn, _)| *lsn > last)
}

/// What is appended goes on behind what was found, and the next opening finds both.
async fn again(folder: &Path, journal: Journal, found: &[Entry], last: Lsn) -> Result<(), String> {
    let appended = journal.append(vec![draft("next")]).await.unwrap().first;
    if appended != last + 1 || found.iter().any(|entry| entry.lsn >= appended) {
        return Err(format!("{appended} was given out, {last} was the last"));
    }
    drop(journal);
    let (journal, _) = open(folder);
    let again = all_after(&journal, 0);
    let same = again.len() == found.len() + 1 && again.iter().zip(found).all(|(a, b)| a.lsn == b.lsn);
    same.then_some(())
        .ok_or_else(|| "the next opening found something else".to_owned())
}

#[tokio::test]
async fn of_a_harmed_journal_every_sound_record_is_read_and_nothing_else() {
    let copies = number("POSTHASTE_CORRUPTIONS").unwrap_or(if is_soak() { MANY } else { COPIES });
    let seed = seed("POSTHASTE_CORRUPTION_SEED");
    println!("POSTHASTE_CORRUPTIONS={copies}");
    let base = Base::make().await;
    let (mut lost, mut failures) = (0, Vec::new());
    for seed in seed..seed + copies {
        let (harms, result) = run(&base, &mut Rng::with_seed(seed)).await;
        match result {
            Ok(count) => lost += count,
            Err(error) => failures.push(format!("POSTHASTE_CORRUPTION_SEED={seed}: {harms:?}: {error}")),
        }
    }
    println!(
        "{copies} harmed copies of {} records: {lost} records damaged",
        base.entries.len()
    );
    failures.truncate(10);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
