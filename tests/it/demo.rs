//! `posthaste demo`: it tells its story, leaves nothing behind, and fails when it cannot tell it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::child::EndsWithTest as _;

/// The demo, with its temporary folder inside `place`, and with an environment that would lead a server astray.
fn demo(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command
        .arg("demo")
        .current_dir("/")
        .env("TMPDIR", place)
        .env("POSTHASTE_CONFIG", "/no/such/file")
        .env("POSTHASTE_SOCKET", "/no/such/socket")
        .env("POSTHASTE_STORAGE__DURABILITY", "os")
        .stdin(Stdio::null());
    command
}

fn is_empty(place: &Path) -> bool {
    fs::read_dir(place).unwrap().next().is_none()
}

#[test]
fn the_demo_tells_the_whole_story_on_one_screen_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let output = demo(place.path()).output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{story}{errors}");
    assert_eq!(errors, "");
    let mut rest = story.as_str();
    for told in [
        "event accepted      order-1, 202",
        "attempt 1           503",
        "attempt 2           503",
        "attempt 3           200, delivered; shop verified its signature",
        "endpoint disabled   shop",
        "ops is told         endpoint.disabled arrived, signed",
        "3 deliveries are held",
        "server killed       SIGKILL: ",
        "server restarted    on the same folder",
        "that were accepted; nothing is lost",
        "the 4 that got no answer, same ids",
        "endpoint enabled    shop",
        "in the order in which they were accepted",
        "\naccepted ",
        ", lost 0: every signature verified",
        "posthaste serve --dev",
    ] {
        let (_, after) = rest
            .split_once(told)
            .unwrap_or_else(|| panic!("{told:?} is missing, or comes too early:\n{story}"));
        rest = after;
    }
    assert!(story.lines().count() <= 40, "{story}");
    for line in story.lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    assert!(!story.contains('\u{1b}'), "colours are for terminals:\n{story:?}");
    assert!(is_empty(place.path()), "the folder is left behind");
}

#[test]
fn a_kept_folder_is_whole_and_its_owners_alone() {
    let place = tempfile::tempdir().unwrap();
    let output = demo(place.path()).arg("--keep").output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{story}");
    let folder = fs::read_dir(place.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(
        story.ends_with(&format!("The folder is kept: {}\n", folder.display())),
        "{story}"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&folder).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let check = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(["check", "--data"])
        .arg(folder.join("data"))
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}

#[test]
fn an_interrupted_demo_stops_its_server_and_removes_its_folder() {
    let place = tempfile::tempdir().unwrap();
    let mut child = demo(place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .ends_with_test(Signal::TERM)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = lines
        .find_map(|line| {
            let line = line.unwrap();
            let pid = line.split_once("(pid ")?.1.split_once(')')?.0;
            Some(pid.parse::<i32>().unwrap())
        })
        .unwrap();
    let demo = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(demo, Signal::INT).unwrap();
    // To the end: a demo that cannot print any more would end because of that.
    lines.for_each(|line| _ = line.unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut errors = String::new();
    child.stderr.unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("posthaste: interrupted"), "{errors}");
    assert!(
        test_kill_process(Pid::from_raw(server).unwrap()).is_err(),
        "the server runs on"
    );
    assert!(is_empty(place.path()), "the folder is left behind");
}

#[test]
fn a_demo_that_cannot_be_told_fails_and_says_why() {
    let output = demo(Path::new("/no/such/place")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("TMPDIR"), "{errors}");
}
