//! The settings that are one of a few words.

use std::fmt;

use super::raw::{Raw, Setting, Wrong, quoted};
use crate::domain::limits;

macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident, $form:literal,
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+
    ) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl Setting for $name {
            const FORM: &'static str = $form;

            fn read(raw: &Raw) -> Result<Self, Wrong> {
                match raw {
                    Raw::Text(text) | Raw::Untyped(text) => match text.as_str() {
                        $($word => Ok(Self::$variant),)+
                        _ => Err(Wrong::Form),
                    },
                    _ => Err(Wrong::Form),
                }
            }

            fn write(&self) -> String {
                quoted(self.as_str())
            }
        }
    };
}

words!(
    /// What an acknowledgement survives.
    Durability,
    "\"fsync\" or \"os\"",
    /// A power cut: every group of records is synced before it is acknowledged.
    Fsync = "fsync",
    /// A crash of this process only: the operating system writes when it likes.
    Os = "os"
);

words!(
    /// Which indexes are kept for lists.
    Indexes,
    "\"all\" or \"essential\"",
    /// One for every filter.
    All = "all",
    /// What delivering needs.
    Essential = "essential"
);

words!(
    /// The form of a log line.
    LogFormat,
    "\"text\" or \"json\"",
    Text = "text",
    Json = "json"
);

/// A file mode, written in octal.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct Mode(u32);

impl Mode {
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Setting for Mode {
    const FORM: &'static str = "a file mode in octal and in quotes, such as \"0660\"";

    /// A bare number is refused: `660` in TOML is decimal, which is mode 1224.
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let (Raw::Text(text) | Raw::Untyped(text)) = raw else {
            return Err(Wrong::Form);
        };
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        format!("\"{self}\"")
    }
}

/// What is logged: a level, or directives such as `info,posthaste::sender=debug`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct Directives(String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Directives {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Directives {
    const FORM: &'static str =
        "off, error, warn, info, debug or trace, or directives such as \"info,posthaste::sender=debug\"";

    /// A word that is no level would be taken for the name of a module, and a misspelt level would so log all
    /// of nothing: each part is a level or holds `=`.
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let (Raw::Text(text) | Raw::Untyped(text)) = raw else {
            return Err(Wrong::Form);
        };
        let parts_hold = text
            .split(',')
            .all(|part| LEVELS.contains(&part) || part.contains('='));
        if !parts_hold {
            return Err(Wrong::Form);
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.clone())),
            Err(error) => Err(Wrong::Detail(format!("is not understood: {error}"))),
        }
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}

/// What may name the source of a CloudEvent: a URI, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct UriReference(String);

impl UriReference {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for UriReference {
    const FORM: &'static str = "a URI or a part of one, such as \"https://example.com/shop\" or \"/shop\"";

    /// Only what no URI reference (RFC 3986) holds is refused: the rest is the receivers' to read.
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let (Raw::Text(text) | Raw::Untyped(text)) = raw else {
            return Err(Wrong::Form);
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if (1..=limits::ATTRIBUTE_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.clone()));
        }
        Err(Wrong::Form)
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn a_mode_is_octal_and_grants_no_more_than_permissions() {
        assert_eq!(Mode::read(&text("0660")).map(Mode::bits), Ok(0o660));
        assert_eq!(Mode::read(&text("600")).map(Mode::bits), Ok(0o600));
        for bad in [
            text("0888"),
            text("4755"),
            text("+60"),
            text("66"),
            text(""),
            Raw::Integer(660),
        ] {
            assert_eq!(Mode::read(&bad), Err(Wrong::Form), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_level_is_refused_and_directives_are_taken() {
        assert_eq!(Directives::read(&text("inof")), Err(Wrong::Form));
        assert_eq!(Directives::read(&text("info,posthaste")), Err(Wrong::Form));
        assert!(Directives::read(&text("posthaste=loud")).is_err());
        assert!(Directives::read(&text("info,posthaste::sender=debug")).is_ok());
    }

    #[test]
    fn a_source_is_what_a_uri_may_hold() {
        for good in ["/posthaste", "https://example.com/a?b#c", "urn:x:1", "a%20b"] {
            assert!(UriReference::read(&text(good)).is_ok(), "{good}");
        }
        for bad in ["", "a b", "é", "<a>", "a\n"] {
            assert_eq!(UriReference::read(&text(bad)), Err(Wrong::Form), "{bad}");
        }
    }

    #[test]
    fn words_are_exact() {
        assert_eq!(Durability::read(&text("os")), Ok(Durability::Os));
        assert_eq!(Durability::read(&text("OS")), Err(Wrong::Form));
    }
}
