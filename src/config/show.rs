//! The configuration as text: the effective one, and the documented defaults.

use std::fmt::Write as _;

use super::{
    load::Loaded,
    problem::Origin,
    profiles,
    raw::{Raw, quoted},
    table::{KEYS, Key, SECTIONS},
};

impl Loaded {
    /// The effective configuration as TOML, each line with where its value came from.
    pub fn show(&self) -> String {
        let line = |key: &Key| {
            let origin = self.origins.get(&key.path()).unwrap_or(&Origin::Default);
            (
                format!("{} = {}", key.name, (key.show)(&self.config)),
                origin.to_string(),
            )
        };
        let lines: Vec<_> = KEYS.iter().map(|key| (key.section, line(key))).collect();
        let width = lines
            .iter()
            .map(|(_, (text, _))| text.chars().count())
            .max()
            .unwrap_or(0)
            .min(60);
        let mut out = String::new();
        if self.config.dev {
            out.push_str("# flag --dev: loopback and private networks may be sent to\n");
        }
        for (section, _) in SECTIONS {
            let _ = writeln!(out, "{}[{section}]", if out.is_empty() { "" } else { "\n" });
            for (_, (text, origin)) in lines.iter().filter(|(of, _)| of == section) {
                let _ = writeln!(out, "{text:width$}  # {origin}");
            }
        }
        out + &profiles::show(&self.config.profiles)
    }
}

/// `docs/configuration.toml`: every key with its default, its bounds and why.
pub fn documented() -> String {
    let mut out = String::from(HEAD);
    for (section, docs) in SECTIONS {
        out.push('\n');
        docs.iter().for_each(|line| comment(&mut out, line));
        let _ = writeln!(out, "[{section}]");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            out.push('\n');
            document(&mut out, key);
        }
    }
    out + OWN_PROFILES
}

const HEAD: &str = "\
# posthaste: every key of the configuration, with its default. Made from src/config/table.rs.
#
# Name a file with `posthaste serve --config FILE` or POSTHASTE_CONFIG. Write only what you change. A
# variable POSTHASTE_SECTION__KEY wins over the file (lists with commas), a flag over both.
# `posthaste config show` prints what is in force and where it came from. Sizes: B, KiB, MiB, GiB, TiB.
# Durations: ms, s, m, h, d. `<data>` at the start of a path stands for storage.data.
";

const OWN_PROFILES: &str = "
# Profiles of your own, which endpoints name. Each starts from another one, built in or above, and says what differs.
#
# [profiles.acme]
# base = \"standard\"
# envelope = \"bare\"
# signatures = [\"github\", \"standard\"]
# secret_required = false
# retry = { retries = 3, delay = \"5s\" }
# disable_on = \"any_non_transient\"
";

fn comment(out: &mut String, line: &str) {
    let _ = writeln!(out, "# {}", line.trim());
}

fn document(out: &mut String, key: &Key) {
    key.docs.iter().for_each(|line| comment(out, line));
    comment(out, &format!("Must be {}.", key.form));
    if let Some((low, high)) = key.range {
        comment(out, &format!("From {low} to {high}."));
    }
    comment(out, &format!("Environment: {}", key.variable()));
    let normal = (key.normal)(key, &Raw::Untyped(key.default.to_owned())).unwrap_or_default();
    // "24h" as it is written in the table says more than "1d".
    let default = if normal.starts_with('"') {
        quoted(key.default)
    } else {
        normal
    };
    let _ = writeln!(out, "{} = {default}", key.name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn reload(text: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        load(&Request {
            file: Some(file),
            ..Request::default()
        })
        .unwrap()
    }

    #[test]
    fn the_documented_file_sets_every_key_to_its_default() {
        let loaded = reload(&documented());
        assert_eq!(loaded.config, load(&Request::default()).unwrap().config);
        let from_file = loaded
            .origins
            .values()
            .filter(|origin| matches!(origin, Origin::File { .. }))
            .count();
        assert_eq!(from_file, KEYS.len());
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_configuration() {
        let environment = vec![(
            "POSTHASTE_DELIVERY__ALLOW_NETWORKS".into(),
            "10.0.0.0/8,fd00::/8".into(),
        )];
        let loaded = load(&Request {
            environment,
            ..Request::default()
        })
        .unwrap();
        let shown = loaded.show();
        assert!(
            shown.contains("# environment POSTHASTE_DELIVERY__ALLOW_NETWORKS"),
            "{shown}"
        );
        assert_eq!(reload(&shown).config, loaded.config);
    }
}
