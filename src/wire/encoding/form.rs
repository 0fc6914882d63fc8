//! `application/x-www-form-urlencoded`, with nested names in brackets.
//!
//! - `{"a": {"b": 1}}` is `a[b]=1`, `{"a": ["x"]}` is `a[0]=x`. Brackets of ours are written as they are, brackets
//!   in a name are percent-encoded, so that the two can be told apart before decoding.
//! - `true` and `false` are those words, numbers have the digits they were written with, `null` is the empty text.
//! - An empty object or list is the empty text too: its name would be lost otherwise.
//! - A name that is there twice is sent twice, in order.
//! - A document that is no object has no names: its value is sent as `data`, a list as `data[0]`, `data[1]`, …
//! - An empty document is an empty body.

use url::form_urlencoded::byte_serialize;

use super::{
    EncodeError, bounded,
    tokens::{Token, Tokens},
};

pub(super) const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// The name of a document that is no object.
const WHOLE: &str = "data";

struct Form {
    body: String,
    /// The name of what is being written, in its encoded form.
    path: String,
    levels: Vec<Level>,
}

/// An object or list that is open.
struct Level {
    /// Bytes of the path that are its own name.
    name: usize,
    /// The place of the next item; `None` in an object.
    item: Option<usize>,
    is_empty: bool,
}

/// Writes a document as a form.
pub(super) fn write(tokens: Tokens<'_>, limit: usize) -> Result<String, EncodeError> {
    let mut form = Form {
        body: String::new(),
        path: String::new(),
        levels: Vec::new(),
    };
    for token in tokens {
        form.take(&token);
        bounded(&form.body, limit)?;
    }
    Ok(form.body)
}

impl Form {
    fn take(&mut self, token: &Token<'_>) {
        match token {
            Token::Name(name) => self.name(name),
            Token::OpenObject => self.open(None),
            Token::OpenList => self.open(Some(0)),
            Token::Close => self.close(),
            Token::Text(text) => self.value(text),
            Token::Number(digits) => self.value(digits),
            Token::Bool(true) => self.value("true"),
            Token::Bool(false) => self.value("false"),
            Token::Null => self.value(""),
        }
    }

    fn name(&mut self, name: &str) {
        let outermost = self.levels.len() == 1;
        let encoded = byte_serialize(name.as_bytes());
        if outermost {
            self.path.extend(encoded);
        } else {
            self.path.push('[');
            self.path.extend(encoded);
            self.path.push(']');
        }
    }

    /// A value begins: completes its name.
    fn begin(&mut self, is_object: bool) {
        match self.levels.last_mut() {
            None if !is_object => self.path.push_str(WHOLE),
            None => {}
            Some(level) => {
                level.is_empty = false;
                if let Some(item) = &mut level.item {
                    self.path.push_str(&format!("[{item}]"));
                    *item += 1;
                }
            }
        }
    }

    /// A value is written: back to the name of what holds it.
    fn end(&mut self) {
        self.path
            .truncate(self.levels.last().map_or(0, |level| level.name));
    }

    fn open(&mut self, item: Option<usize>) {
        self.begin(item.is_none());
        self.levels.push(Level {
            name: self.path.len(),
            item,
            is_empty: true,
        });
    }

    fn close(&mut self) {
        let level = self.levels.pop();
        let is_document = self.levels.is_empty() && self.path.is_empty();
        if level.is_some_and(|level| level.is_empty) && !is_document {
            self.pair("");
        }
        self.end();
    }

    fn value(&mut self, text: &str) {
        self.begin(false);
        self.pair(text);
        self.end();
    }

    fn pair(&mut self, text: &str) {
        if !self.body.is_empty() {
            self.body.push('&');
        }
        self.body.push_str(&self.path);
        self.body.push('=');
        self.body.extend(byte_serialize(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: &str) -> String {
        write(Tokens::of(json.as_bytes()).unwrap(), 1024).unwrap()
    }

    #[test]
    fn nested_names_stand_in_brackets() {
        assert_eq!(
            form(r#"{"event_type":"video_ready","data":{"video":{"token":"abc","tags":["a b","c&d"]}}}"#),
            "event_type=video_ready&data[video][token]=abc&data[video][tags][0]=a+b&data[video][tags][1]=c%26d"
        );
        assert_eq!(form(r#"{"a":[[1,{"b":2}],3]}"#), "a[0][0]=1&a[0][1][b]=2&a[1]=3");
    }

    #[test]
    fn words_and_digits_are_kept_and_null_is_empty() {
        assert_eq!(
            form(r#"{"t":true,"f":false,"n":null,"a":1.0,"b":1e400,"c":12345678901234567890,"d":-0}"#),
            "t=true&f=false&n=&a=1.0&b=1e400&c=12345678901234567890&d=-0"
        );
        assert_eq!(form(r#"{"é":"\ud800\n%"}"#), "%C3%A9=%EF%BF%BD%0A%25");
    }

    #[test]
    fn what_is_empty_keeps_its_name_and_what_is_twice_stays_so() {
        assert_eq!(form(r#"{"o":{},"l":[],"m":{"o":{}}}"#), "o=&l=&m[o]=");
        assert_eq!(form(r#"{"a":1,"a":{"b":2},"a":1}"#), "a=1&a[b]=2&a=1");
        assert_eq!(form("{}"), "");
    }

    #[test]
    fn a_document_without_names_is_called_data() {
        assert_eq!(form("5"), "data=5");
        assert_eq!(form(r#"["x",{"a":1}]"#), "data[0]=x&data[1][a]=1");
        assert_eq!(
            (form("[]"), form("null")),
            ("data=".to_owned(), "data=".to_owned())
        );
    }

    #[test]
    fn brackets_in_names_are_told_from_ours() {
        assert_eq!(form(r#"{"a[b]":{"c]":1},"":{"":2}}"#), "a%5Bb%5D[c%5D]=1&[]=2");
    }

    #[test]
    fn a_small_document_does_not_become_a_huge_one() {
        let bomb = format!(r#"{{"{}":[{}0]}}"#, "x".repeat(100_000), "0,".repeat(50_000));
        let limit = 4 * 1024 * 1024;
        let written = write(Tokens::of(bomb.as_bytes()).unwrap(), limit);
        assert!(matches!(written, Err(EncodeError::TooLarge { limit: 4_194_304 })));
    }
}
