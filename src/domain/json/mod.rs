//! JSON for expressions: a reader that loses nothing of a document.
//!
//! serde_json's own value holds a number as i64, u64 or f64, and refuses a document in which a number is beyond a
//! double or a text has half a surrogate pair. Both are JSON, and senders make both. [`read`] hands every number over
//! as its digits ([`decimal`]) and such a text as it was written, so that whoever builds values of them decides what
//! they mean, and only where one of them is looked at.

pub mod decimal;
pub mod number;

use std::borrow::Cow;

use super::limits;

/// What makes values of a document's pieces.
pub trait Build<'a> {
    type Value;
    type List: Default;
    type Object: Default;

    fn null(&self) -> Self::Value;
    fn boolean(&self, value: bool) -> Self::Value;
    /// A number, by its digits.
    fn number(&self, digits: &'a str) -> Self::Value;
    fn text(&self, text: Cow<'a, str>) -> Self::Value;
    /// A text with half a surrogate pair in it, which no string of ours can hold: as it was written, with its quotes.
    fn half_text(&self, written: &'a str) -> Self::Value;
    fn item(&self, list: &mut Self::List, item: Self::Value);
    fn list(&self, list: Self::List) -> Self::Value;
    /// A member, whose name may have been there before. Half a surrogate pair in a name is U+FFFD.
    fn member(&self, object: &mut Self::Object, name: Cow<'a, str>, value: Self::Value);
    fn object(&self, object: Self::Object) -> Self::Value;
}

/// Reads one JSON value.
///
/// `None` when it is not JSON, or nested deeper than [`limits::JSON_DEPTH`].
pub fn read<'a, B: Build<'a>>(json: &'a [u8], build: &B) -> Option<B::Value> {
    let text = std::str::from_utf8(json).ok()?;
    let mut reader = Reader { text, at: 0, build };
    let value = reader.value(limits::JSON_DEPTH)?;
    reader.skip_space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a, 'b, B> {
    text: &'a str,
    /// Always between two characters.
    at: usize,
    build: &'b B,
}

impl<'a, B: Build<'a>> Reader<'a, '_, B> {
    fn value(&mut self, depth: usize) -> Option<B::Value> {
        self.skip_space();
        match self.peek()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.list(depth.checked_sub(1)?),
            b'"' => {
                let (written, text) = self.string()?;
                Some(match text {
                    Some(text) => self.build.text(text),
                    None => self.build.half_text(written),
                })
            }
            b'n' => self.word("null").map(|()| self.build.null()),
            b't' => self.word("true").map(|()| self.build.boolean(true)),
            b'f' => self.word("false").map(|()| self.build.boolean(false)),
            _ => {
                let length = decimal::length(&self.text.as_bytes()[self.at..])?;
                Some(self.build.number(self.take(length)))
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<B::Value> {
        let mut list = B::List::default();
        if !self.opened(b']') {
            loop {
                let item = self.value(depth)?;
                self.build.item(&mut list, item);
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        Some(self.build.list(list))
    }

    fn object(&mut self, depth: usize) -> Option<B::Value> {
        let mut object = B::Object::default();
        if !self.opened(b'}') {
            loop {
                self.skip_space();
                let (written, name) = self.string()?;
                let name = name.unwrap_or_else(|| Cow::Owned(lossy(written)));
                self.skip_space();
                self.byte(b':')?;
                let value = self.value(depth)?;
                self.build.member(&mut object, name, value);
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        Some(self.build.object(object))
    }

    /// Steps over what opens an object or list; answers whether it ends at once.
    fn opened(&mut self, end: u8) -> bool {
        self.at += 1;
        self.skip_space();
        self.byte(end).is_some()
    }

    /// Steps over a comma, after which there is more, or over the end.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.skip_space();
        match self.byte(b',') {
            Some(()) => Some(true),
            None => self.byte(end).map(|()| false),
        }
    }

    /// A string as it was written, and its text where Unicode has it.
    fn string(&mut self) -> Option<(&'a str, Option<Cow<'a, str>>)> {
        if self.peek()? != b'"' {
            return None;
        }
        let rest = &self.text.as_bytes()[self.at + 1..];
        let (mut length, mut escaped) = (0, false);
        loop {
            match rest.get(length)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    length += 2;
                }
                0..0x20 => return None,
                _ => length += 1,
            }
        }
        let written = self.take(length + 2);
        let inner = &written[1..=length];
        if !escaped {
            return Some((written, Some(Cow::Borrowed(inner))));
        }
        let text = unescaped(inner, false)?;
        Some((written, text.map(Cow::Owned)))
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn take(&mut self, length: usize) -> &'a str {
        let taken = &self.text[self.at..self.at + length];
        self.at += length;
        taken
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}

/// The text between a string's quotes. `None` when an escape is none of JSON's; `Some(None)` when it has half a
/// surrogate pair, unless that is to become U+FFFD.
#[expect(clippy::option_option, reason = "no JSON, and no Unicode, are two things")]
fn unescaped(inner: &str, lossy: bool) -> Option<Option<String>> {
    let mut text = String::with_capacity(inner.len());
    let (mut rest, mut half) = (inner, false);
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let letter = match after.as_bytes().first()? {
            b'u' => {
                let (letter, length) = unicode(after)?;
                half |= letter.is_none();
                text.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = &after[length..];
                continue;
            }
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            letter @ (b'"' | b'\\' | b'/') => char::from(*letter),
            _ => return None,
        };
        text.push(letter);
        rest = &after[1..];
    }
    text.push_str(rest);
    Some((lossy || !half).then_some(text))
}

/// The character of `uXXXX`, or of a pair of escapes, and the bytes behind the first backslash that it takes.
fn unicode(after: &str) -> Option<(Option<char>, usize)> {
    let unit = |at: usize| {
        let hex = after.get(at..at + 4)?;
        // `from_str_radix` takes a sign as well.
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u16::from_str_radix(hex, 16).ok()).flatten()
    };
    let first = unit(1)?;
    let second = after
        .get(5..7)
        .filter(|mark| *mark == "\\u")
        .and_then(|_| unit(7));
    let units = [Some(first), second].into_iter().flatten();
    Some(match char::decode_utf16(units).next() {
        Some(Ok(letter)) => (Some(letter), if letter.len_utf16() == 2 { 11 } else { 5 }),
        _ => (None, 5),
    })
}

/// The text of a string as it was written, each half of a surrogate pair as U+FFFD.
fn lossy(written: &str) -> String {
    let inner = written.get(1..written.len() - 1).unwrap_or_default();
    unescaped(inner, true).flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests;
