//! The file: TOML, with the line of each value.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    load::Layers,
    problem::Origin,
    profiles,
    raw::Raw,
    suggest::closest,
    table::{KEYS, SECTIONS},
};
use crate::domain::text;

/// The section whose tables are profiles.
const PROFILES: &str = "profiles";
/// A configuration is a page of text; more than this is another file named by mistake.
const FILE_BYTES: u64 = 1024 * 1024;

/// Lays the file over the layers. `named_by` is blamed when there is no such file.
pub(super) fn lay(layers: &mut Layers, path: &Path, named_by: &Origin) {
    match read(path) {
        Ok(text) => Document { text: &text, path }.lay(layers),
        Err(error) => {
            let fix = match error.kind() {
                io::ErrorKind::NotFound => "; name a file that exists, or none to run on the defaults",
                io::ErrorKind::PermissionDenied => "; let the server's user read it",
                _ => "",
            };
            layers.refuse(named_by, format!("cannot read {}: {error}{fix}", path.display()));
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if text::is_utf16(&bytes) {
        return Err(wrong(format!("it {}", text::UTF16)));
    }
    let text = std::str::from_utf8(text::without_mark(&bytes));
    text.map(str::to_owned).map_err(|error| {
        wrong(format!(
            "it is not UTF-8; the first wrong byte is at {}",
            error.valid_up_to()
        ))
    })
}

struct Document<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Document<'_> {
    fn lay(&self, layers: &mut Layers) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let origin = self.at(error.span().map_or(0, |span| span.start));
            layers.refuse(&origin, format!("not TOML: {}", error.message()));
        }
        // What the parser makes of a line that it could not read is not worth a second complaint.
        if errors.is_empty() {
            self.lay_sections(layers, table.get_ref());
        }
    }

    fn lay_sections(&self, layers: &mut Layers, table: &DeTable<'_>) {
        let mut sections: Vec<_> = table.iter().collect();
        sections.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in sections {
            let section = name.get_ref().as_ref();
            let known = SECTIONS.iter().any(|(known, _)| *known == section);
            match value.get_ref() {
                DeValue::Table(tables) if section == PROFILES => self.lay_profiles(layers, tables),
                DeValue::Table(keys) if known => self.lay_keys(layers, section, keys),
                _ if known => layers.refuse(
                    &self.at(name.span().start),
                    format!("{section} must be a section, [{section}]"),
                ),
                DeValue::Table(_) => {
                    let hint = closest(section, SECTIONS.iter().map(|(name, _)| *name));
                    let hint =
                        hint.map_or_else(sections_there_are, |name| format!("; did you mean [{name}]?"));
                    layers.refuse(
                        &self.at(name.span().start),
                        format!("[{section}] is not a section{hint}"),
                    );
                }
                _ => layers.refuse(
                    &self.at(name.span().start),
                    format!("{section} is not a key{}", hint(section)),
                ),
            }
        }
    }

    fn lay_profiles(&self, layers: &mut Layers, tables: &DeTable<'_>) {
        let mut tables: Vec<_> = tables.iter().collect();
        tables.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in tables {
            let added = match value.get_ref() {
                DeValue::Table(table) => profiles::add(&mut layers.profiles, name.get_ref(), table),
                _ => Err(format!(" must be a section, [{PROFILES}.{}]", name.get_ref())),
            };
            if let Err(wrong) = added {
                let origin = self.at(name.span().start);
                layers.refuse(&origin, format!("{PROFILES}.{}{wrong}", name.get_ref()));
            }
        }
    }

    fn lay_keys(&self, layers: &mut Layers, section: &str, keys: &DeTable<'_>) {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in keys {
            let origin = self.at(name.span().start);
            let key = KEYS
                .iter()
                .find(|key| key.section == section && key.name == name.get_ref().as_ref());
            match key {
                Some(key) => layers.lay(key, raw(value), origin),
                None => {
                    let path = format!("{section}.{}", name.get_ref());
                    layers.refuse(&origin, format!("{path} is not a key{}", hint(&path)));
                }
            }
        }
    }

    fn at(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Origin::File {
            path: self.path.to_owned(),
            line: Some(line),
        }
    }
}

fn sections_there_are() -> String {
    let names: Vec<_> = SECTIONS.iter().map(|(name, _)| format!("[{name}]")).collect();
    format!("; there are {}", names.join(", "))
}

/// The key that was probably meant: the same name in another section, or a like one.
pub(super) fn hint(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let paths: Vec<_> = KEYS.iter().map(super::table::Key::path).collect();
    let elsewhere = KEYS
        .iter()
        .find(|key| key.name == name)
        .map(super::table::Key::path);
    let like = || closest(path, paths.iter().map(String::as_str)).map(str::to_owned);
    elsewhere
        .or_else(like)
        .map_or_else(String::new, |path| format!("; did you mean {path}?"))
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other(format!("the number {number}")),
        },
        DeValue::Array(items) => {
            let texts: Option<Vec<_>> = items
                .iter()
                .map(|item| Some(item.get_ref().as_str()?.to_owned()))
                .collect();
            texts.map_or_else(|| Raw::Other("an array of other things".to_owned()), Raw::List)
        }
        DeValue::Float(number) => Raw::Other(format!("the fraction {number}")),
        DeValue::Datetime(time) => Raw::Other(format!("the date {time}")),
        DeValue::Table(_) => Raw::Other("a table".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Request, load};

    proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in "(\\[(storage|log|x)\\]|(data|level|x) = |[\"'\\[{}=,#.\n]|[a-z0-9é\u{0}]){0,24}") {
            let mut layers = Layers::defaults();
            Document { text: &text, path: Path::new("c.toml") }.lay(&mut layers);
            let lines = 1 + text.matches('\n').count();
            for problem in &layers.problems {
                let Origin::File { line: Some(line), .. } = problem.origin else {
                    panic!("{problem} has no line");
                };
                prop_assert!((1..=lines).contains(&line), "{} of {}", line, lines);
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_utf_16_is_named() {
        assert_eq!(problems("\u{feff}[log]\nlevel = \"info\"\n"), [""; 0]);
        let utf16: String = "[log]\n".chars().flat_map(|letter| [letter, '\0']).collect();
        let said = problems(&utf16);
        assert!(said.iter().any(|problem| problem.contains("UTF-16")), "{said:?}");
    }

    fn problems(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        let prefix = format!("{}:", file.display());
        match load(&Request {
            file: Some(file),
            ..Request::default()
        }) {
            Ok(_) => Vec::new(),
            Err(problems) => problems
                .iter()
                .map(|problem| problem.to_string().replace(&prefix, ""))
                .collect(),
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_line_and_its_fix() {
        let found = problems(
            "data = 1\n[storage]\ndurabilty = \"os\"\nlisten = \"off\"\nsegment_bytes = \"1B\"\n\
             [delivery]\nconcurrency = \"8\"\nallow_networks = [\"10.0.0.0/8\", 3]\ntimeout = 15\n[strage]\n",
        );
        let expected = [
            "1: data is not a key; did you mean storage.data?",
            "3: storage.durabilty is not a key; did you mean storage.durability?",
            "4: storage.listen is not a key; did you mean api.listen?",
            "5: storage.segment_bytes must be between 64KiB and 1GiB, not \"1B\"",
            "7: delivery.concurrency must be a whole number, not \"8\"",
        ];
        assert_eq!(found[..5], expected);
        assert!(
            found[5].starts_with("8: delivery.allow_networks must be a list of networks"),
            "{}",
            found[5]
        );
        assert!(
            found[6].starts_with("9: delivery.timeout must be a duration such as"),
            "{}",
            found[6]
        );
        assert_eq!(found[7], "10: [strage] is not a section; did you mean [storage]?");
    }

    #[test]
    fn broken_toml_is_named_by_line_and_nothing_panics() {
        let found = problems("[storage]\ndata = \n[log\nlevel = \"info\"\n");
        assert!(
            found.iter().any(|line| line.starts_with("2: not TOML")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|line| line.starts_with("3: not TOML")),
            "{found:?}"
        );
        for text in [
            "\u{0}",
            "[[storage]]",
            "storage = 1",
            "[storage]\n[storage]",
            "a.b.c = 1",
            "[storage.data]",
        ] {
            assert!(!problems(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn numbers_may_be_written_as_toml_has_them() {
        assert!(problems("[limits]\nbatch_lines = 1_000\nendpoints = 0xff\npayload = 4096\n").is_empty());
        let found = problems("[limits]\nbatch_lines = 99999999999999999999\n");
        assert!(
            found[0].ends_with("not the number 99999999999999999999"),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_blamed_on_who_named_it() {
        let request = Request {
            file: Some("/nowhere/c.toml".into()),
            ..Request::default()
        };
        let text = load(&request).unwrap_err().to_string();
        assert!(
            text.contains("flag --config: cannot read /nowhere/c.toml"),
            "{text}"
        );
    }
}
