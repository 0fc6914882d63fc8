use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const OPTIONS: Options = Options {
    cache_bytes: 1024 * 1024,
    buffer_bytes: 2048,
    indexes: crate::storage::local::index::Indexes::All,
};

/// What is done to a table.
#[derive(Clone, Debug)]
enum Deed {
    /// Rows by key, with how long they are; 0 removes one.
    Apply(Vec<(Vec<u8>, u16)>),
    Flush,
    Reopen,
    /// Closed as by a crash: what was not folded is gone.
    Crash,
}

/// Keys of few kinds, close to each other: they meet in pages.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop_oneof![
        prop::collection::vec(0..4u8, 0..3),
        (0..2000u16).prop_map(|number| number.to_be_bytes().to_vec()),
    ];
    (0..3u8, tail).prop_map(|(kind, tail)| [vec![kind], tail].concat())
}

fn deed() -> impl Strategy<Value = Deed> {
    let length = prop_oneof![3 => 1..40u16, 2 => Just(0), 1 => 200..9000u16];
    let rows = prop::collection::vec((key(), length), 0..60);
    prop_oneof![
        12 => rows.prop_map(Deed::Apply),
        1 => Just(Deed::Flush),
        1 => Just(Deed::Reopen),
        1 => Just(Deed::Crash),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn changes(model: &mut Model, rows: &[(Vec<u8>, u16)], stamp: u8) -> Changes {
    let mut changes = Changes::new();
    for (key, length) in rows {
        let row = vec![stamp; usize::from(*length)];
        let change = match (model.contains_key(key), *length) {
            (_, 0) => Change::Gone,
            (false, _) if !changes.contains_key(&**key) => Change::New(row.clone().into()),
            _ => Change::Put(row.clone().into()),
        };
        if *length == 0 {
            model.remove(key);
        } else {
            model.insert(key.clone(), row);
        }
        changes.insert(Key::from(&**key), change);
    }
    changes
}

fn rows<'a>(range: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<Row> {
    range.map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// Pages tile all keys, hold their rows in order, and are no larger than they may be.
fn tiled(table: &Table) {
    let mut low = Vec::new();
    loop {
        let (found, page) = table.pages().covering(&low).unwrap();
        assert_eq!(found, low, "a page begins where the one before it ends");
        let keys: Vec<_> = page.rows().map(|(key, _)| key.to_vec()).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.first().is_none_or(|first| *first >= low));
        let bytes: usize = page.rows().map(|(key, row)| page::size(key, row)).sum();
        assert!(
            keys.len() < 2 || bytes <= page::MOST_BYTES * 5 / 4,
            "{bytes} bytes"
        );
        assert!(keys.iter().all(|key| key.first() == keys[0].first()));
        let Some(high) = page.high() else { break };
        assert!(keys.last().is_none_or(|last| &**last < high));
        low = high.to_vec();
    }
    let pages = table.pages().len();
    let (mut counted, mut bytes) = (0, 0);
    let mut low = Some(Vec::new());
    while let Some(key) = low {
        let (_, page) = table.pages().covering(&key).unwrap();
        counted += 1;
        bytes += page.sealed() as u64;
        low = page.high().map(<[u8]>::to_vec);
    }
    assert_eq!(pages, counted, "no page lies in the shadow of another");
    assert_eq!(table.live_bytes(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_is_a_sorted_map_that_forgets_nothing_it_has_folded(
        deeds in prop::collection::vec(deed(), 1..30), bounds in prop::collection::vec((key(), key()), 4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::open(dir.path(), OPTIONS).unwrap();
        let mut model = Model::new();
        // What the table was after each apply; the last row in each is its number.
        let mut past = vec![model.clone()];
        for (deed, stamp) in deeds.into_iter().zip(1..) {
            match deed {
                Deed::Apply(rows) => {
                    let mut changes = changes(&mut model, &rows, stamp);
                    let number = (vec![9], vec![u8::try_from(past.len()).unwrap()]);
                    changes.insert(Key::from(&*number.0), Change::Put(number.1.clone().into()));
                    model.insert(number.0, number.1);
                    table.apply(changes).unwrap();
                    past.push(model.clone());
                }
                Deed::Flush => table.flush().unwrap(),
                Deed::Reopen => {
                    table.flush().unwrap();
                    drop(table);
                    table = Table::open(dir.path(), OPTIONS).unwrap();
                }
                Deed::Crash => {
                    drop(table);
                    table = Table::open(dir.path(), OPTIONS).unwrap();
                    let number = table.get(&[9]).unwrap().map_or(0, |row| usize::from(row[0]));
                    model.clone_from(&past[number]);
                    past.truncate(number + 1);
                }
            }
            for (low, high) in &bounds {
                prop_assert_eq!(table.get(low).unwrap(), model.get(low).cloned());
                let (low, high) = (low.min(high), low.max(high));
                let between = rows(model.range(low.clone()..high.clone()));
                let range = || table.range(low, Some(high));
                prop_assert_eq!(range().collect::<Result<Vec<_>, _>>().unwrap(), between.clone());
                let descending: Vec<_> = range().descending().collect::<Result<_, _>>().unwrap();
                prop_assert!(descending.into_iter().eq(between.into_iter().rev()));
            }
            let all: Vec<_> = table.prefix(&[]).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(all, rows(model.iter()));
        }
        table.flush().unwrap();
        tiled(&table);
    }
}

/// Readers meet rows in memory, on their way, and in pages that are being cut; those that stand are always seen.
#[test]
fn what_stands_is_seen_while_it_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path(), OPTIONS).unwrap();
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let row = |number: u64| Box::from([&number.to_be_bytes()[..], &[7; 30]].concat());
    std::thread::scope(|scope| {
        for reader in 0..2u64 {
            let (table, written, done) = (table.clone(), &written, &done);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(reader);
                while !done.load(Ordering::Acquire) {
                    let known = written.load(Ordering::Acquire);
                    if known == 0 {
                        continue;
                    }
                    let number = rng.u64(0..known);
                    assert!(
                        table.contains(&number.to_be_bytes()).unwrap(),
                        "{number} of {known}"
                    );
                    let low = known.saturating_sub(rng.u64(1..400));
                    let range = table.range(&low.to_be_bytes(), Some(&known.to_be_bytes()));
                    let range = if reader == 0 { range } else { range.descending() };
                    assert_eq!(range.count() as u64, known - low);
                }
            });
        }
        for number in 0..6000u64 {
            let changes = Changes::from([
                (Key::from(&number.to_be_bytes()[..]), Change::New(row(number))),
                // One that comes and goes.
                (
                    Key::from(&*[&[1], &(number / 3).to_be_bytes()[..]].concat()),
                    if number % 3 == 2 {
                        Change::Gone
                    } else {
                        Change::Put(row(number))
                    },
                ),
            ]);
            table.apply(changes).unwrap();
            written.store(number + 1, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
    table.flush().unwrap();
    tiled(&table);
    assert_eq!(table.prefix(&[1]).count(), 0);
}

#[test]
fn a_store_of_the_first_layout_is_not_taken_for_ours_nor_ours_for_one() {
    use crate::{runtime::codec::decode_row, storage::local::index::rows::Applied};
    let dir = tempfile::tempdir().unwrap();
    drop(Table::open(dir.path(), OPTIONS).unwrap());
    let db = db::open(dir.path(), OPTIONS.cache_bytes).unwrap();
    let first = db
        .get(&*crate::storage::local::index::keys::applied())
        .unwrap()
        .unwrap();
    let read: Applied = decode_row(1, &first).unwrap();
    assert_eq!((read.lsn, read.journal), (1, [0xff; 16]));
    db.clear().unwrap();
    db.insert(&*crate::storage::local::index::keys::applied(), &first)
        .unwrap();
    drop(db);
    assert!(matches!(
        Table::open(dir.path(), OPTIONS),
        Err(StoreError::Layout)
    ));
}

#[test]
fn a_damaged_page_is_an_error_and_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path(), OPTIONS).unwrap();
    table
        .apply(Changes::from([(Key::from(&[5][..]), Change::New([6].into()))]))
        .unwrap();
    table.flush().unwrap();
    table.pages().harm(&[5]);
    table.core.memory_mut().epoch += 1;
    assert!(matches!(table.get(&[5]), Err(StoreError::Page)));
    assert!(table.prefix(&[]).any(|row| row.is_err()));
    table
        .apply(Changes::from([(Key::from(&[5][..]), Change::Gone)]))
        .unwrap();
    assert!(matches!(table.flush(), Err(StoreError::Page)));
}
