//! The disk that loses its power, and whatever else it is told to do wrong: that it does what the tests rely on.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::support::disk::{Cut, Disk, Effect, Errno, Fault, Image, Op};

const PATIENCE: Duration = Duration::from_secs(30);

/// A disk, and the directory that it is mounted in.
fn mounted(image: Image) -> Option<(tempfile::TempDir, Disk)> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&dir.path().join("disk"), image)?;
    Some((dir, disk))
}

/// What is found on the disk after a cut.
fn after(disk: Disk, cut: Cut, seed: u64) -> Option<(tempfile::TempDir, Disk)> {
    mounted(disk.cut(cut, &mut Rng::with_seed(seed)))
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn errno(result: io::Result<impl Sized>) -> i32 {
    result.map(drop).unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_disk_is_a_file_system() {
    let Some((_dir, disk)) = mounted(Image::default()) else {
        return;
    };
    let root = disk.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    let secret = root.join("a/secret");
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&secret)
        .unwrap();
    file.write_all(&[7; 3_000_000]).unwrap();
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&secret).unwrap(), [7; 3_000_000]);
    file.set_len(1000).unwrap();
    file.set_len(2000).unwrap();
    assert_eq!(
        fs::read(&secret).unwrap(),
        [vec![7; 1000], vec![0; 1000]].concat()
    );
    fs::rename(&secret, root.join("a/b/c")).unwrap();
    assert_eq!(names(&root.join("a")), ["b"]);
    assert_eq!(errno(fs::remove_dir(root.join("a"))), Errno::ENOTEMPTY.code());
    assert_eq!(errno(File::create_new(root.join("a/b/c"))), Errno::EEXIST.code());
    for number in 0..500 {
        fs::write(root.join(format!("a/b/{number}")), "x").unwrap();
    }
    fs::remove_dir_all(root.join("a")).unwrap();
    assert!(names(root).is_empty());
    assert_eq!(disk.used(), 0);
}

#[test]
fn what_is_not_synced_is_gone_after_a_cut() {
    let Some((_dir, disk)) = mounted(Image::default()) else {
        return;
    };
    let root = disk.path();
    let file = File::create(root.join("kept")).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    fs::write(root.join("removed"), "").unwrap();
    fs::write(root.join("renamed"), "").unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    sync(root);
    file.write_all_at(b" and not", 6).unwrap();
    file.write_all_at(b"S", 0).unwrap();
    fs::remove_file(root.join("removed")).unwrap();
    fs::rename(root.join("renamed"), root.join("to")).unwrap();
    // Synced itself, but not its name.
    File::create(root.join("folder/nameless")).unwrap();
    sync(&root.join("folder/nameless"));
    assert_eq!(disk.unsynced(), ["", "folder", "kept"]);
    let (_dir, disk) = after(disk, Cut::Drop, 1).unwrap();
    let root = disk.path();
    assert_eq!(names(root), ["folder", "kept", "removed", "renamed"]);
    assert_eq!(fs::read(root.join("kept")).unwrap(), b"synced");
    assert!(names(&root.join("folder")).is_empty());
    assert!(disk.unsynced().is_empty());
}

#[test]
fn names_and_bytes_survive_a_cut_without_each_other() {
    let build = || {
        let (dir, disk) = mounted(Image::default())?;
        let file = File::create(disk.path().join("old")).unwrap();
        sync(disk.path());
        file.write_all_at(b"bytes", 0).unwrap();
        fs::rename(disk.path().join("old"), disk.path().join("new")).unwrap();
        Some((dir, disk))
    };
    let Some((_dir, disk)) = build() else { return };
    let (_dir, disk) = after(disk, Cut::Names, 1).unwrap();
    assert_eq!(fs::read(disk.path().join("new")).unwrap(), b"");
    let (_dir, disk) = build().unwrap();
    let (_dir, disk) = after(disk, Cut::Content, 1).unwrap();
    assert_eq!(fs::read(disk.path().join("old")).unwrap(), b"bytes");
    assert_eq!(names(disk.path()), ["old"]);
}

#[test]
fn any_part_may_survive_a_cut_and_the_same_seed_leaves_the_same() {
    const SECTORS: usize = 40;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let mut found = Vec::new();
        for _ in 0..2 {
            let Some((_dir, disk)) = mounted(Image::default()) else {
                return;
            };
            let file = File::create(disk.path().join("file")).unwrap();
            file.write_all_at(&[b'a'; 512 * SECTORS], 0).unwrap();
            sync(disk.path());
            file.sync_all().unwrap();
            file.write_all_at(&[b'b'; 512 * SECTORS], 0).unwrap();
            file.write_all_at(&[b'c'; 512 * SECTORS], 256).unwrap();
            let (_dir, disk) = after(disk, Cut::Some, seed).unwrap();
            found.push(fs::read(disk.path().join("file")).unwrap());
        }
        assert_eq!(found[0], found[1], "seed {seed}");
        let found = &found[0];
        assert!(found.len() == 512 * SECTORS || found.len() == 512 * SECTORS + 256);
        for sector in found[512..512 * SECTORS].chunks(512) {
            // A sector is of one version, wherever the writes began.
            assert!(
                sector.iter().all(|byte| *byte == sector[0]),
                "torn within a sector"
            );
            seen.insert(sector[0]);
        }
    }
    assert_eq!(seen, [b'a', b'b', b'c'].into());
}

#[test]
fn faults_strike_when_and_where_they_are_told_to() {
    let Some((_dir, disk)) = mounted(Image::default()) else {
        return;
    };
    let path = disk.path().join("some.seg");
    let file = File::create(&path).unwrap();
    let other = File::create(disk.path().join("other")).unwrap();
    disk.arm(
        Fault::new(&[Op::Write], "*.seg", Effect::Fail(Errno::EIO))
            .after(1)
            .times(2),
    );
    file.write_all_at(b"one", 0).unwrap();
    other.write_all_at(b"x", 0).unwrap();
    assert_eq!(errno(file.write_all_at(b"two", 0)), Errno::EIO.code());
    assert_eq!(errno(file.write_all_at(b"two", 0)), Errno::EIO.code());
    file.write_all_at(b"two", 0).unwrap();
    assert_eq!(disk.struck(), 2);
    disk.arm(Fault::new(&[Op::Write], "some.seg", Effect::Short(2)).times(1));
    assert_eq!(file.write_at(b"long", 3).unwrap(), 2);
    disk.set_space(Some((disk.used() + 2, Errno::ENOSPC)));
    assert_eq!(file.write_at(b"long", 5).unwrap(), 2);
    assert_eq!(errno(file.write_at(b"long", 7)), Errno::ENOSPC.code());
    file.write_all_at(b"over", 0).unwrap();
    disk.set_space(None);
    disk.set_read_only(true);
    assert_eq!(errno(file.write_at(b"long", 0)), Errno::EROFS.code());
    assert_eq!(errno(fs::remove_file(&path)), Errno::EROFS.code());
    assert_eq!(fs::read(&path).unwrap(), b"overolo");
    disk.set_read_only(false);
    disk.arm(Fault::new(&[Op::Read, Op::List], "*", Effect::Fail(Errno::EIO)));
    assert_eq!(errno(fs::read(&path)), Errno::EIO.code());
    assert_eq!(errno(fs::read_dir(disk.path())), Errno::EIO.code());
    disk.disarm();
    fs::read(&path).unwrap();
}

#[test]
fn a_sync_may_fail_and_lose_what_it_was_to_sync_or_lie() {
    let Some((_dir, disk)) = mounted(Image::default()) else {
        return;
    };
    let file = File::create(disk.path().join("file")).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    file.sync_all().unwrap();
    sync(disk.path());
    disk.arm(Fault::new(&[Op::Sync], "file", Effect::Lose(Errno::EIO)).times(1));
    file.write_all_at(b"lost", 4).unwrap();
    assert_eq!(errno(file.sync_data()), Errno::EIO.code());
    file.sync_data().unwrap();
    assert_eq!(fs::read(disk.path().join("file")).unwrap(), b"keptlost");
    disk.arm(Fault::new(&[Op::Sync], "file", Effect::Lie));
    disk.arm(Fault::new(&[Op::SyncFolder], "", Effect::Lie));
    file.write_all_at(b"more", 8).unwrap();
    file.sync_data().unwrap();
    File::create(disk.path().join("another")).unwrap();
    sync(disk.path());
    let (_dir, disk) = after(disk, Cut::Drop, 1).unwrap();
    assert_eq!(fs::read(disk.path().join("file")).unwrap(), b"kept");
    assert_eq!(names(disk.path()), ["file"]);
}

#[test]
fn a_disk_freezes_between_two_operations() {
    let Some((_dir, disk)) = mounted(Image::default()) else {
        return;
    };
    disk.freeze_after(3, "*a*");
    let root = disk.path().to_owned();
    let user = thread::spawn(move || {
        let file = File::create(root.join("a"))?;
        fs::write(root.join("b"), "not counted")?;
        file.write_all_at(b"first", 0)?;
        file.sync_all()?;
        file.write_all_at(b"second", 0)
    });
    assert!(disk.wait_frozen(PATIENCE));
    assert!(!user.is_finished());
    disk.die();
    assert_eq!(errno(user.join().unwrap()), Errno::EIO.code());
    let trail = disk.trail();
    assert_eq!(trail.last().unwrap(), "Write a: Freeze");
    let (_dir, disk) = after(disk, Cut::Content, 1).unwrap();
    assert!(names(disk.path()).is_empty(), "the directory was never synced");
}
