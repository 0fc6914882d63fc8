//! JSON as a stream of tokens, with its numbers as they were written.
//!
//! The text is checked as a whole before the first token, so reading the tokens cannot fail. Nothing here recurses:
//! depth costs a byte on the heap.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A piece of a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    OpenObject,
    OpenList,
    /// Ends the object or list that was opened last.
    Close,
    /// The name of the member whose value comes next.
    Name(Cow<'a, str>),
    Text(Cow<'a, str>),
    /// The digits as they were written.
    Number(&'a str),
    Bool(bool),
    Null,
}

pub(super) struct Tokens<'a> {
    rest: &'a str,
    /// What is open, and whether it is an object.
    open: Vec<bool>,
    name_next: bool,
}

impl<'a> Tokens<'a> {
    /// # Errors
    /// When the bytes are not one JSON value. Numbers of any size and lone surrogates are JSON.
    pub fn of(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        let value: &RawValue = serde_json::from_slice(json)?;
        Ok(Self {
            rest: value.get(),
            open: Vec::new(),
            name_next: false,
        })
    }

    fn open(&mut self, is_object: bool) -> Token<'a> {
        self.skip(1);
        self.open.push(is_object);
        self.name_next = is_object;
        if is_object {
            Token::OpenObject
        } else {
            Token::OpenList
        }
    }

    fn close(&mut self) -> Token<'a> {
        self.skip(1);
        self.open.pop();
        self.ended(Token::Close)
    }

    fn string(&mut self) -> Token<'a> {
        let inner = &self.rest[1..];
        let length = string_length(inner);
        self.skip(length + 2);
        let text = unescaped(&inner[..length]);
        if self.name_next {
            self.name_next = false;
            return Token::Name(text);
        }
        self.ended(Token::Text(text))
    }

    fn word(&mut self) -> Token<'a> {
        let ends = |letter: char| matches!(letter, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let length = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = &self.rest[..length];
        self.skip(length);
        let token = match word {
            "null" => Token::Null,
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            digits => Token::Number(digits),
        };
        self.ended(token)
    }

    /// A value is complete: in an object a name comes next.
    fn ended(&mut self, token: Token<'a>) -> Token<'a> {
        self.name_next = self.open.last().copied().unwrap_or(false);
        token
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.rest = self.rest.trim_start_matches([',', ':', ' ', '\t', '\n', '\r']);
        match self.rest.as_bytes().first()? {
            b'{' => Some(self.open(true)),
            b'[' => Some(self.open(false)),
            b'}' | b']' => Some(self.close()),
            b'"' => Some(self.string()),
            _ => Some(self.word()),
        }
    }
}

/// Bytes up to the quote that ends a string.
fn string_length(inner: &str) -> usize {
    let mut escaped = false;
    let ends = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    ends.unwrap_or(inner.len())
}

/// A string's text. A lone surrogate, which is no character, becomes U+FFFD.
fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let (letter, length) = escape(after);
        text.push(letter);
        rest = after.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character that an escape stands for, and the escape's length behind its backslash.
fn escape(after: &str) -> (char, usize) {
    let letter = match after.as_bytes().first() {
        Some(b'u') => return unicode(after),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (letter, 1)
}

/// `uXXXX`, or a pair of them that makes one character.
fn unicode(after: &str) -> (char, usize) {
    let unit = |at: usize| {
        after
            .get(at..at + 4)
            .and_then(|hex| u16::from_str_radix(hex, 16).ok())
    };
    let first = unit(1).unwrap_or(0xfffd);
    let second = after
        .get(5..7)
        .filter(|mark| *mark == "\\u")
        .and_then(|_| unit(7));
    let pair: Vec<u16> = [Some(first), second].into_iter().flatten().collect();
    match char::decode_utf16(pair).next() {
        Some(Ok(letter)) => (letter, if letter.len_utf16() == 2 { 11 } else { 5 }),
        _ => (char::REPLACEMENT_CHARACTER, 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(json: &str) -> Vec<Token<'_>> {
        Tokens::of(json.as_bytes()).unwrap().collect()
    }

    #[test]
    fn numbers_keep_their_digits_and_members_their_order() {
        let name = |text| Token::Name(Cow::Borrowed(text));
        let expected = [
            Token::OpenObject,
            name("b"),
            Token::Number("1.0"),
            name("a"),
            Token::OpenList,
            Token::Number("1e400"),
            Token::Number("-0"),
            Token::OpenObject,
            Token::Close,
            Token::Text(Cow::Borrowed("x")),
            Token::Close,
            name("a"),
            Token::Number("12345678901234567890"),
            name("n"),
            Token::Null,
            Token::Close,
        ];
        let json = " {\"b\" : 1.0,\n\"a\":[1e400, -0,{ },\"x\"], \"a\":12345678901234567890,\"n\":null} ";
        assert_eq!(tokens(json), expected);
        assert_eq!(tokens("true"), [Token::Bool(true)]);
    }

    #[test]
    fn strings_are_read_with_every_escape() {
        let text = |json: &str| match tokens(json).pop() {
            Some(Token::Text(text)) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r#""a\"\\\/\b\f\n\r\t\u00e9é""#), "a\"\\/\u{8}\u{c}\n\r\téé");
        assert_eq!(text(r#""\ud83d\ude00\\""#), "😀\\");
        assert_eq!(text(r#""\ud83d""#), "\u{fffd}");
        assert_eq!(text(r#""\ud83d\ud83d\ude00x""#), "\u{fffd}😀x");
        assert_eq!(text(r#""\ude00\u0041""#), "\u{fffd}A");
    }

    #[test]
    fn what_is_not_json_has_no_tokens() {
        for bad in [&b""[..], b"{", b"{} {}", b"nul", b"{\"a\":01}", b"\"\xff\""] {
            assert!(Tokens::of(bad).is_err(), "{bad:?}");
        }
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert_eq!(Tokens::of(&deep).unwrap().count(), 200_000);
    }
}
