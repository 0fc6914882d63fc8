use super::*;

#[test]
fn a_folder_has_one_owner_and_knows_how_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let folder = Folder::open(&path, None).unwrap();
    assert!(!folder.unsynced_files_hold(), "a new folder holds nothing");
    assert!(matches!(Folder::open(&path, None), Err(FolderError::Locked(_))));
    folder.begin().unwrap();
    drop(folder);
    let folder = Folder::open(&path, None).unwrap();
    assert!(folder.unsynced_files_hold(), "the same boot");
    folder.begin().unwrap();
    folder.finish().unwrap();
    drop(folder);
    fs::write(path.join("boot"), "another").unwrap();
    let folder = Folder::open(&path, None).unwrap();
    assert!(folder.unsynced_files_hold(), "stopped cleanly");
    folder.begin().unwrap();
    drop(folder);
    fs::write(path.join("boot"), "another").unwrap();
    assert!(
        !Folder::open(&path, None).unwrap().unsynced_files_hold(),
        "restarted without a clean stop"
    );
}

#[test]
fn a_key_is_made_once_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(dir.path().join("key.tmp"), "left by a start that was interrupted").unwrap();
    let key = create_key(&path).unwrap();
    assert_eq!(read_key(&path).unwrap(), key);
    assert!(matches!(create_key(&path), Err(FolderError::Io { .. })));
    assert_eq!(read_key(&path).unwrap(), key);
}

#[test]
fn a_wrong_missing_or_exposed_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Folder::open(dir.path(), None).unwrap());
    let key = dir.path().join("key");
    let right = fs::read_to_string(&key).unwrap();
    fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::KeyWrong(_))
    ));
    fs::write(&key, "short").unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::KeyForm(_))
    ));
    fs::write(&key, &right).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::KeyExposed(_))
    ));
    fs::remove_file(&key).unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::KeyMissing(_))
    ));
}

#[test]
fn a_folder_of_format_1_is_migrated_when_it_is_begun_and_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    drop(Folder::open(dir.path(), None).unwrap());
    let format = dir.path().join("format");
    let new = fs::read_to_string(&format).unwrap();
    let old = new.replace(&format!("format {FORMAT}"), "format 1");
    fs::write(&format, &old).unwrap();
    let read = || fs::read_to_string(&format).unwrap();
    let folder = Folder::open(dir.path(), None).unwrap();
    assert_eq!(read(), old, "looking at it changes nothing");
    // A crash may come after the copy, or before it was renamed.
    fs::write(dir.path().join("format.1.tmp"), "half").unwrap();
    folder.begin().unwrap();
    let kept = dir.path().join("format.1");
    assert_eq!((read(), fs::read_to_string(&kept).unwrap()), (new, old.clone()));
    folder.begin().unwrap();
    drop(folder);
    Folder::open(dir.path(), None).unwrap().begin().unwrap();
    assert_eq!(fs::read_to_string(&kept).unwrap(), old);
    fs::rename(&kept, &format).unwrap();
    assert_eq!(Folder::open(dir.path(), None).unwrap().found, 1);
}

#[test]
fn a_damaged_or_missing_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Folder::open(dir.path(), None).unwrap());
    let format = dir.path().join("format");
    let right = fs::read(&format).unwrap();
    let proof = "posthaste data folder\n".len();
    let open = || Folder::open(dir.path(), None).map(drop);
    for at in proof..right.len() - 1 {
        for bit in 0..8 {
            let mut bytes = right.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&format, &bytes).unwrap();
            let clear = match open() {
                Err(FolderError::NotOurs(_) | FolderError::Newer { .. } | FolderError::KeyWrong { .. }) => {
                    true
                }
                Err(_) => false,
                // A digit that is another digit, or the same one in capitals.
                Ok(()) => bytes[at].is_ascii_hexdigit(),
            };
            assert!(clear, "byte {at}, bit {bit}");
            assert_eq!(fs::read(&format).unwrap(), bytes);
        }
    }
    fs::remove_file(&format).unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    assert!(matches!(open(), Err(FolderError::FormatMissing(_))));
    assert!(!format.exists());
    fs::write(&format, &right).unwrap();
    open().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, [0xff; 70]).unwrap();
    assert!(matches!(open(), Err(FolderError::KeyForm(_))));
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(Folder::open(dir.path(), None).unwrap());
    let format = dir.path().join("format");
    let newer = fs::read_to_string(&format)
        .unwrap()
        .replace(&format!("format {FORMAT}"), &format!("format {}", FORMAT + 1));
    fs::write(&format, &newer).unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::Newer { found, .. }) if found == FORMAT + 1
    ));
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
    fs::write(&format, "").unwrap();
    assert!(matches!(
        Folder::open(dir.path(), None),
        Err(FolderError::NotOurs(_))
    ));
}
