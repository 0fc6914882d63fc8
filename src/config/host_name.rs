//! The name by which we are known to receivers that grant an origin.

use super::raw::{Raw, Setting, Wrong, quoted};

/// A name of a host, or nothing for this machine's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct HostName(String);

/// The longest name that DNS has.
const NAME_BYTES: usize = 253;

impl HostName {
    /// The name, or `own` when none is set; `posthaste` when that is none either.
    pub fn or<'a>(&'a self, own: &'a str) -> &'a str {
        let known = [self.0.as_str(), own].into_iter().find(|name| is_name(name));
        known.unwrap_or("posthaste")
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

impl Setting for HostName {
    const FORM: &'static str = "a host name such as \"events.example.com\", or \"\" for this machine's own";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) if text.is_empty() || is_name(text) => {
                Ok(Self(text.clone()))
            }
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HostName, Wrong> {
        HostName::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn the_machine_s_own_name_stands_in_for_none_where_it_is_one() {
        assert_eq!(
            read("events.example.com").unwrap().or("own"),
            "events.example.com"
        );
        assert_eq!(read("").unwrap().or("own"), "own");
        assert_eq!(read("").unwrap().or("not a name"), "posthaste");
    }

    #[test]
    fn what_no_header_could_carry_as_a_name_is_refused() {
        for bad in ["a b", "https://h", "a\nb", "h:80", "*", &"x".repeat(254)] {
            assert_eq!(read(bad), Err(Wrong::Form), "{bad}");
        }
    }
}
