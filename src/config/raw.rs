//! A value before its meaning is known, and the types that give it one.

use std::{fmt, path::PathBuf};

use crate::domain::duration::Span;

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<String>),
    /// From the environment, a flag or the table of defaults, where everything is text.
    Untyped(String),
    /// What no setting takes; holds what it is called.
    Other(String),
}

/// Why a raw value is not a setting.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not of the setting's form.
    Form,
    /// It is of that form, and beyond all that the setting could be.
    Range,
    /// It is of that form, and this is wrong with it.
    Detail(String),
}

/// A type that a key of the configuration may have.
pub trait Setting: Sized + PartialOrd {
    /// How a value is written: completes "must be …".
    const FORM: &'static str;

    /// # Errors
    ///
    /// When `raw` is not such a value.
    fn read(raw: &Raw) -> Result<Self, Wrong>;

    /// The value in TOML.
    fn write(&self) -> String;
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Untyped(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::List(items) => f.write_str(&items.write()),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// `text` as a TOML string on one line.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            _ if super::text::is_unsafe(letter) => out.push_str(&format!("\\U{:08X}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const FORM: &'static str = "a whole number";

            /// One that is too large for its type is out of range like any other.
            fn read(raw: &Raw) -> Result<Self, Wrong> {
                let number = match raw {
                    Raw::Integer(number) => i128::from(*number),
                    Raw::Untyped(text) => text.parse().map_err(|_| Wrong::Form)?,
                    _ => return Err(Wrong::Form),
                };
                Self::try_from(number).map_err(|_| Wrong::Range)
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_number!(u16, u32);

impl Setting for bool {
    const FORM: &'static str = "true or false";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Untyped(text) => text.parse().map_err(|_| Wrong::Form),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    const FORM: &'static str = "a path";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) if !text.is_empty() => Ok(Self::from(text)),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// A path that may be left out: the empty text is none.
impl Setting for Option<PathBuf> {
    const FORM: &'static str = "a path, or \"\" for none";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) => {
                Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
            }
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), Setting::write)
    }
}

impl Setting for Vec<String> {
    const FORM: &'static str = "a list of texts";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::List(items) => Ok(items.clone()),
            Raw::Untyped(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        let items: Vec<_> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Setting for Span {
    const FORM: &'static str = "a duration such as \"5s\", \"10m\" or \"1h30m\" (units ms, s, m, h, d)";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) => text.parse().map_err(|_| Wrong::Form),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        format!("\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_quotes_is_a_number_in_the_environment_only() {
        assert_eq!(u16::read(&Raw::Untyped("8".into())), Ok(8));
        assert_eq!(u16::read(&Raw::Text("8".into())), Err(Wrong::Form));
        assert_eq!(u16::read(&Raw::Integer(65_536)), Err(Wrong::Range));
        assert_eq!(u16::read(&Raw::Integer(-1)), Err(Wrong::Range));
        assert_eq!(u16::read(&Raw::Untyped("many".into())), Err(Wrong::Form));
        assert_eq!(bool::read(&Raw::Text("true".into())), Err(Wrong::Form));
    }

    #[test]
    fn a_list_in_the_environment_is_split_at_commas() {
        assert_eq!(
            Vec::read(&Raw::Untyped("a, b,,".into())),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(Vec::<String>::read(&Raw::Untyped(String::new())), Ok(vec![]));
    }

    #[test]
    fn quoted_text_is_toml_whatever_it_holds() {
        for text in ["", "a\"b\\c", "line\nbreak", "\u{1b}[31m", "\u{202e}é"] {
            let document: toml::Table = toml::from_str(&format!("key = {}", quoted(text))).unwrap();
            assert_eq!(document["key"].as_str(), Some(text));
            assert!(!quoted(text).contains(['\n', '\u{1b}', '\u{202e}']));
        }
    }
}
