//! `[profiles.NAME]`: profiles of the operator's own.
//!
//! Each starts from another profile (`base`, `standard` if left out), which stands before it or is built in, and says
//! what it does otherwise.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::domain::profile::{Preset, PresetDocument, ProfileName, Profiles};

/// Adds a profile that a table describes.
///
/// # Errors
/// What is wrong with it, completing "profiles.NAME".
pub(super) fn add(profiles: &mut Profiles, name: &str, table: &DeTable<'_>) -> Result<(), String> {
    let name: ProfileName = name.parse().map_err(|error| format!(" is {error}"))?;
    let document = PresetDocument::read(json_table(table)).map_err(|error| match error.field.as_str() {
        "." => format!(": {}", error.rule),
        field => format!(".{field}: {}", error.rule),
    })?;
    let base = document.base.clone().unwrap_or_default();
    let preset: &Preset = profiles
        .get(&base)
        .ok_or_else(|| format!(".base: there is no profile {base} before this one"))?;
    let preset = preset.with(document);
    profiles.set(name, preset);
    Ok(())
}

fn json_table(table: &DeTable<'_>) -> Map<String, Value> {
    table
        .iter()
        .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
        .collect()
}

/// A value as JSON has it; a number that JSON has not becomes its text, which no member takes.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(json_table(table)),
    }
}

/// The profiles beside those built in, as sections.
pub(super) fn show(profiles: &Profiles) -> String {
    let built_in = Profiles::default();
    let own = profiles
        .names()
        .filter(|name| profiles.get(name) != built_in.get(name));
    own.filter_map(|name| {
        let section = BTreeMap::from([(name.as_str(), profiles.get(name)?.document())]);
        let text = toml::to_string(&BTreeMap::from([("profiles", section)])).ok()?;
        Some(format!("\n{text}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        config::{Loaded, Problems, Request, load},
        domain::{
            endpoint::DisableOn,
            format::{Envelope, Scheme},
        },
    };

    fn read(text: &str) -> Result<Loaded, Problems> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        load(&Request {
            file: Some(file),
            ..Request::default()
        })
    }

    const OWN: &str = "[profiles.acme]\nbase = \"github\"\nretry = { retries = 2, delay = \"1m\" }\n\
                       [profiles.acme-2]\nbase = \"acme\"\nsignatures = [\"stripe\", \"standard\"]\ndisable_on = \"never\"\n";

    #[test]
    fn a_profile_starts_from_another_and_says_what_differs() {
        let profiles = read(OWN).unwrap().config.profiles;
        let acme = profiles.get(&"acme".parse().unwrap()).unwrap();
        assert_eq!((acme.envelope, acme.retry.retries()), (Envelope::Bare, 2));
        assert_eq!(acme.schemes, [Scheme::Github]);
        let second = profiles.get(&"acme-2".parse().unwrap()).unwrap();
        assert_eq!(second.schemes, [Scheme::Stripe, Scheme::Standard]);
        assert_eq!((second.retry.retries(), second.disable_on), (2, DisableOn::Never));
    }

    #[test]
    fn what_is_shown_reads_back() {
        let loaded = read(OWN).unwrap();
        assert_eq!(read(&loaded.show()).unwrap().config, loaded.config);
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "[profiles.Acme]\n[profiles.a]\nbase = \"nobody\"\n[profiles.b]\nenvelop = \"bare\"\n[profiles.c]\n\
                    signatures = [\"rot13\"]\n[profiles.d]\nretry = { retries = -1, delay = \"1s\" }\n[profiles]\nx = 1\n";
        let problems = read(&text.replace("[profiles]\n", "")).unwrap_err().to_string();
        for part in [
            ":1: profiles.Acme is not a profile's name",
            ":2: profiles.a.base: there is no profile nobody",
            ":4: profiles.b.envelop: unknown field",
            ":6: profiles.c.signatures[0]: unknown variant `rot13`",
            ":8: profiles.d.retry",
        ] {
            assert!(problems.contains(part), "{part}\n{problems}");
        }
        let problems = read("[profiles]\nx = 1\n").unwrap_err().to_string();
        assert!(
            problems.contains(":2: profiles.x must be a section, [profiles.x]"),
            "{problems}"
        );
    }
}
