//! The environment: `POSTHASTE_SECTION__KEY`.
//!
//! A name with a double underscore is ours and must be a key. Others with our prefix are left alone:
//! container platforms make variables such as `POSTHASTE_SERVICE_HOST` and `POSTHASTE_PORT` for a service of
//! that name.

use std::ffi::OsString;

use super::{load::Layers, problem::Origin};

/// Names the configuration file.
pub const CONFIG: &str = "POSTHASTE_CONFIG";

const PREFIX: &str = "POSTHASTE_";

/// Lays the environment over the layers.
pub(super) fn lay(layers: &mut Layers, variables: &[(OsString, OsString)]) {
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .collect();
    ours.sort_unstable();
    for (name, value) in ours {
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        let origin = Origin::Environment(name.to_owned());
        if name.bytes().any(|letter| letter.is_ascii_lowercase()) {
            layers.refuse(
                &origin,
                format!("write it in capitals: {}", name.to_ascii_uppercase()),
            );
            continue;
        }
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        layers.lay_text(&section, &key, value, origin);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use crate::config::{Request, load};

    fn problems(pairs: Vec<(&str, std::ffi::OsString)>) -> Vec<String> {
        let environment = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        match load(&Request {
            environment,
            ..Request::default()
        }) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_name_with_a_double_underscore_must_be_a_key() {
        assert_eq!(
            problems(vec![
                ("POSTHASTE_STORAGE__DATTA", "x".into()),
                ("POSTHASTE_NO__WHERE", "x".into())
            ]),
            [
                "environment POSTHASTE_NO__WHERE: no.where is not a key",
                "environment POSTHASTE_STORAGE__DATTA: storage.datta is not a key; did you mean storage.data?",
            ]
        );
    }

    #[test]
    fn a_name_in_small_letters_is_not_overlooked() {
        let found = problems(vec![("POSTHASTE_api__listen", "off".into())]);
        assert_eq!(
            found,
            ["environment POSTHASTE_api__listen: write it in capitals: POSTHASTE_API__LISTEN"]
        );
    }

    #[test]
    fn what_others_name_after_us_is_left_alone() {
        let names = [
            "POSTHASTE_SERVICE_HOST",
            "POSTHASTE_PORT_8787_TCP",
            "POSTHASTE_SOCKET",
            "HOME__DIR",
        ];
        assert!(problems(names.map(|name| (name, "x".into())).to_vec()).is_empty());
    }

    #[test]
    fn a_value_that_is_no_text_is_refused() {
        let bytes = std::ffi::OsString::from_vec(vec![0xff]);
        let found = problems(vec![("POSTHASTE_LOG__LEVEL", bytes)]);
        assert_eq!(
            found,
            ["environment POSTHASTE_LOG__LEVEL: log.level must be valid UTF-8"]
        );
    }
}
