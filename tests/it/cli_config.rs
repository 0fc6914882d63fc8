//! The real binary: its configuration, its help, and what it says when it cannot go on.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
};

/// The program with an empty environment, so that the one who runs the tests does not matter.
fn posthaste(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.env_clear().args(args);
    command
}

fn run(args: &[&str]) -> Output {
    posthaste(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The line of `config show` that sets `key`, its spaces squeezed.
fn line(shown: &str, key: &str) -> String {
    let line = shown.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("no {key} in\n{shown}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_documented_file_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.toml");
    let expected = posthaste::config::documented();
    if fs::read_to_string(&path).unwrap_or_default() != expected {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration.toml");
        fs::write(&fresh, expected).unwrap();
        panic!(
            "docs/configuration.toml is not what the table says; compare it with {}",
            fresh.display()
        );
    }
}

#[test]
fn config_show_prints_the_defaults_as_toml() {
    let output = run(&["config", "show"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    let table: toml::Table = toml::from_str(&shown).unwrap();
    assert_eq!(table["limits"]["payload"].as_str(), Some("256KiB"));
    assert_eq!(
        line(&shown, "socket"),
        "socket = \"./posthaste-data/posthaste.sock\" # default"
    );
}

#[test]
fn config_show_says_where_each_value_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(
        &file,
        "[log]\nlevel = \"warn\"\nformat = \"json\"\n[api]\nlisten = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let output = posthaste(&["config", "show", "--data", "d", "--listen", "127.0.0.1:3"])
        .env("POSTHASTE_CONFIG", &file)
        .env("POSTHASTE_LOG__LEVEL", "debug")
        .env("POSTHASTE_API__LISTEN", "127.0.0.1:2")
        .env("POSTHASTE_SERVICE_HOST", "made by a container platform")
        .output()
        .unwrap();
    let shown = stdout(&output);
    assert_eq!(line(&shown, "data"), "data = \"d\" # flag --data");
    assert_eq!(line(&shown, "listen"), "listen = \"127.0.0.1:3\" # flag --listen");
    assert_eq!(
        line(&shown, "level"),
        "level = \"debug\" # environment POSTHASTE_LOG__LEVEL"
    );
    assert_eq!(
        line(&shown, "format"),
        format!("format = \"json\" # {}:3", file.display())
    );
    assert_eq!(line(&shown, "socket"), "socket = \"d/posthaste.sock\" # default");
    let off = stdout(&run(&["config", "show", "--no-listen"]));
    assert_eq!(line(&off, "listen"), "listen = \"off\" # flag --no-listen");
}

#[test]
fn all_problems_are_reported_at_once_with_their_places_and_exit_code_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(
        &file,
        "[storage]\ndurabilty = \"os\"\n\n[delivery]\nconcurrency = \"8\"\n",
    )
    .unwrap();
    let output = posthaste(&["config", "show", "--listen", "nowhere", "--config"])
        .arg(&file)
        .env("POSTHASTE_DELIVERY__TIMEOUT", "soon")
        .env("POSTHASTE_STORAGE__DAAT", "x")
        .env("POSTHASTE_LIMITS__PAYLOAD", "1GiB")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let text = stderr(&output);
    let file = file.display();
    for problem in [
        "posthaste: the configuration has 6 problems".to_owned(),
        format!("  {file}:2: storage.durabilty is not a key; did you mean storage.durability?"),
        format!("  {file}:5: delivery.concurrency must be a whole number, not \"8\""),
        "  environment POSTHASTE_DELIVERY__TIMEOUT: delivery.timeout must be a duration such as".to_owned(),
        "  environment POSTHASTE_LIMITS__PAYLOAD: limits.payload must be between 1KiB and 8MiB".to_owned(),
        "  environment POSTHASTE_STORAGE__DAAT: storage.daat is not a key; did you mean storage.data?"
            .to_owned(),
        "  flag --listen: api.listen must be an address and a port such as".to_owned(),
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&problem)),
            "{problem}\n{text}"
        );
    }
}

#[test]
fn a_client_with_a_broken_configuration_exits_with_64_and_names_the_key() {
    let output = posthaste(&["status"])
        .env("POSTHASTE_API__SOCKET_MODE", "0999")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("api.socket_mode must be a file mode in octal"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_program_alone_prints_its_help() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for command in [
        "send", "endpoint", "event", "delivery", "attempts", "status", "config",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command}\n{help}"
        );
    }
    assert_eq!(run(&["send", "--help"]).status.code(), Some(0));
    assert!(stdout(&run(&["--version"])).starts_with("posthaste "));
}

#[test]
fn what_is_not_understood_exits_with_2() {
    let lines: [&[&str]; 9] = [
        &["fly"],
        &["send"],
        &["send", "t", "--batch"],
        &["send", "t", "{not json}"],
        &["send", "t", "--expires-at", "tomorrow"],
        &["endpoint", "set", "ep_1"],
        &["endpoint", "add", "http://a.test", "--treat-as", "404=maybe"],
        &["attempts", "--outcome", "lost"],
        &["status", "--server", "localhost:1"],
    ];
    for line in lines {
        let output = run(line);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn a_missing_socket_is_named_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let output = posthaste(&["status", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains(&folder.path().join("posthaste.sock").display().to_string()),
        "{text}"
    );
    assert!(
        text.contains("there is no such socket") && text.contains("posthaste serve"),
        "{text}"
    );
}

#[test]
fn a_socket_left_by_a_server_that_ended_is_told_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let output = posthaste(&["status"])
        .env("POSTHASTE_SOCKET", &socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the one that made the socket has ended"),
        "{}",
        stderr(&output)
    );
}
