//! The shape of the code: which part may import which, who alone names a library, how long files are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each part may import, beside itself. docs/ARCHITECTURE.md has the same table in words.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("wire", &["domain"]),
    ("runtime", &["domain"]),
    ("config", &["domain"]),
    ("telemetry", &["domain", "config"]),
    ("storage", &["domain", "runtime", "telemetry"]),
    ("sender", &["domain", "wire", "runtime"]),
    (
        "dispatch",
        &["domain", "wire", "storage", "sender", "runtime", "telemetry"],
    ),
    ("api", &["dispatch", "domain", "runtime", "telemetry", "config"]),
    ("bench", &["api", "dispatch", "domain", "storage", "wire"]),
    (
        "cli",
        &[
            "api",
            "config",
            "dispatch",
            "domain",
            "runtime",
            "sender",
            "storage",
            "telemetry",
            "wire",
        ],
    ),
];

/// Libraries and the only places that may name them.
const NAMED_ONLY_IN: [(&str, &[&str]); 15] = [
    ("sled::", &["src/storage/local/index/"]),
    ("bincode::", &["src/runtime/codec.rs"]),
    ("ed25519_dalek::", &["src/wire/ed25519.rs"]),
    ("client::conn", &["src/sender/", "src/cli/client/"]),
    ("client::legacy", &["src/sender/", "src/cli/client/"]),
    ("rusqlite::", &["src/cli/listen/store/sqlite.rs"]),
    ("tokio_postgres::", &["src/cli/listen/store/postgres.rs"]),
    ("quick_xml::", &["src/cli/listen/xml.rs"]),
    (
        "form_urlencoded::byte_serialize",
        &["src/wire/encoding/", "src/domain/endpoint_url.rs"],
    ),
    ("jsonschema::", &["src/dispatch/event_types/schema/"]),
    ("serde_saphyr::", &["src/cli/"]),
    ("use cel::", &["src/domain/condition/"]),
    ("regex_automata::", &["src/domain/condition/regexes.rs"]),
    ("regex_syntax::", &["src/domain/condition/regexes.rs"]),
    ("minijinja::", &["src/wire/transform/"]),
];

/// Past this, a file is two files.
const LONGEST_FILE: usize = 600;

#[test]
fn parts_import_only_what_lies_below_them() {
    let mut wrong = BTreeSet::new();
    for (path, source) in sources() {
        let part = part_of(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else {
            assert!(
                ["build.rs", "fuzzing.rs", "lib.rs", "main.rs"].contains(&part.as_str()),
                "{path}: a part that the table does not have"
            );
            continue;
        };
        for import in imports(&source) {
            if import != part && !allowed.contains(&import.as_str()) {
                wrong.insert(format!("{path} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_part_of_the_table_is_there_and_is_declared() {
    let declared = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (part, _) in MAY_IMPORT {
        assert!(
            root().join("src").join(part).join("mod.rs").is_file(),
            "src/{part}/mod.rs"
        );
        assert!(declared.contains(&format!("pub mod {part};")), "{part}");
    }
}

#[test]
fn a_library_is_named_only_in_its_place() {
    let mut wrong = BTreeSet::new();
    for (path, source) in sources() {
        for (library, places) in NAMED_ONLY_IN {
            if source.contains(library) && !places.iter().any(|place| path.starts_with(place)) {
                wrong.insert(format!("{path} names {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let named = |library: &str| sources().iter().any(|(_, source)| source.contains(library));
    for (library, _) in NAMED_ONLY_IN {
        assert!(
            named(library),
            "nobody names {library} any more: drop it from the table"
        );
    }
}

#[test]
fn no_file_is_longer_than_a_reader_s_patience() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            if lines >= LONGEST_FILE {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let source = "use crate::{\n    domain::{id::X, time::Y},\n    sender::Z,\n};\nuse crate::wire::W;\n\
                  fn f() -> crate::storage::S {}\nuse crate::{api};\n";
    let found: Vec<String> = imports(source).into_iter().collect();
    assert_eq!(found, ["api", "domain", "sender", "storage", "wire"]);
    assert_eq!(
        without_comments("//! crate::a\nx // crate::b\n/// crate::c\ny"),
        "x \ny\n"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Every source file by its path from the root, without comments and tests.
fn sources() -> Vec<(String, String)> {
    rust_files(&root().join("src"))
        .into_iter()
        .map(|path| {
            let source = without_comments(&fs::read_to_string(&path).unwrap());
            let code = source
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            (path, code.to_owned())
        })
        .filter(|(path, _)| !is_test(path))
        .collect()
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("tests/")
}

fn without_comments(source: &str) -> String {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split("// ").next().unwrap_or_default());
    code.fold(String::new(), |text, line| text + line + "\n")
}

fn part_of(path: &str) -> String {
    path.split('/').nth(1).unwrap_or_default().to_owned()
}

/// The parts that stand right behind a `crate::`.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, name) in source.match_indices("crate::") {
        let rest = &source[at + name.len()..];
        match rest.strip_prefix('{') {
            None => _ = found.insert(identifier(rest)),
            Some(group) => found.extend(items(group)),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    let is_name = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    text.trim_start().chars().take_while(is_name).collect()
}

/// The names at the top of an import group, whose opening brace is behind us.
fn items(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (1, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if depth == 0 || (depth == 1 && letter == ',') {
            names.push(identifier(&group[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
