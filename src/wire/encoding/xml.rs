//! `application/xml`, with the root `event`.
//!
//! - Members are elements with their names, list items are `item` elements, nested lists `item` elements in an `item`.
//! - A name that no element can have is kept in an attribute: `<entry name="a b">`. So are names that are allowed but
//!   that parsers do not agree on: with a colon (a namespace), beginning with `xml` (reserved), and letters that only
//!   some editions of XML 1.0 know. Members called `item` or `entry` are elements of that name without an attribute.
//! - `true` and `false` are those words, numbers have the digits they were written with; `null` is an element without
//!   content, as the empty text, object and list are.
//! - Characters that XML 1.0 forbids become U+FFFD. Carriage returns are written as references, since a parser would
//!   make line feeds of them.
//! - A name that is there twice is an element that is there twice.

use std::borrow::Cow;

use super::{
    EncodeError, bounded,
    tokens::{Token, Tokens},
};

pub(super) const MEDIA_TYPE: &str = "application/xml";

const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
const ROOT: &str = "event";
const ITEM: &str = "item";
const ENTRY: &str = "entry";

/// Letters beside ASCII's that a name may hold by every edition of XML 1.0, the first and last of each range: Latin,
/// Greek, Cyrillic, Hebrew, Arabic, kana, Han, Hangul.
const LETTERS: [(char, char); 19] = [
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{131}'),
    ('\u{134}', '\u{13e}'),
    ('\u{141}', '\u{148}'),
    ('\u{14a}', '\u{17e}'),
    ('\u{388}', '\u{38a}'),
    ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3ce}'),
    ('\u{401}', '\u{40c}'),
    ('\u{40e}', '\u{44f}'),
    ('\u{451}', '\u{45c}'),
    ('\u{5d0}', '\u{5ea}'),
    ('\u{621}', '\u{63a}'),
    ('\u{641}', '\u{64a}'),
    ('\u{3041}', '\u{3094}'),
    ('\u{30a1}', '\u{30fa}'),
    ('\u{4e00}', '\u{9fa5}'),
    ('\u{ac00}', '\u{d7a3}'),
];

struct Xml<'a> {
    body: String,
    /// The elements that are open, and whether each is an object's.
    open: Vec<(Tag<'a>, bool)>,
    /// The name of the member whose value comes next.
    name: Option<Cow<'a, str>>,
}

enum Tag<'a> {
    Own(Cow<'a, str>),
    /// In an attribute.
    Entry(Cow<'a, str>),
}

/// Writes a document as XML.
pub(super) fn write(tokens: Tokens<'_>, limit: usize) -> Result<String, EncodeError> {
    let mut xml = Xml {
        body: DECLARATION.to_owned(),
        open: Vec::new(),
        name: None,
    };
    for token in tokens {
        xml.take(token);
        bounded(&xml.body, limit)?;
    }
    Ok(xml.body)
}

impl<'a> Xml<'a> {
    fn take(&mut self, token: Token<'a>) {
        match token {
            Token::Name(name) => self.name = Some(name),
            Token::OpenObject => self.open(true),
            Token::OpenList => self.open(false),
            Token::Close => {
                if let Some((tag, _)) = self.open.pop() {
                    tag.end(&mut self.body);
                }
            }
            Token::Text(text) => self.element(&text),
            Token::Number(digits) => self.element(digits),
            Token::Bool(true) => self.element("true"),
            Token::Bool(false) => self.element("false"),
            Token::Null => {
                let tag = self.tag();
                tag.begin(&mut self.body, "/>");
            }
        }
    }

    fn tag(&mut self) -> Tag<'a> {
        match (self.open.last(), self.name.take()) {
            (None, _) => Tag::Own(Cow::Borrowed(ROOT)),
            (Some((_, true)), Some(name)) => Tag::of(name),
            (Some(_), _) => Tag::Own(Cow::Borrowed(ITEM)),
        }
    }

    fn open(&mut self, is_object: bool) {
        let tag = self.tag();
        tag.begin(&mut self.body, ">");
        self.open.push((tag, is_object));
    }

    fn element(&mut self, text: &str) {
        let tag = self.tag();
        tag.begin(&mut self.body, ">");
        escape(&mut self.body, text);
        tag.end(&mut self.body);
    }
}

impl<'a> Tag<'a> {
    fn of(name: Cow<'a, str>) -> Self {
        if is_element_name(&name) {
            Self::Own(name)
        } else {
            Self::Entry(name)
        }
    }

    fn begin(&self, body: &mut String, end: &str) {
        body.push('<');
        match self {
            Self::Own(name) => body.push_str(name),
            Self::Entry(name) => {
                body.push_str(ENTRY);
                body.push_str(" name=\"");
                escape(body, name);
                body.push('"');
            }
        }
        body.push_str(end);
    }

    fn end(&self, body: &mut String) {
        body.push_str("</");
        body.push_str(match self {
            Self::Own(name) => name,
            Self::Entry(_) => ENTRY,
        });
        body.push('>');
    }
}

/// Escapes text for an element's content or an attribute's value alike.
fn escape(body: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => body.push_str("&amp;"),
            '<' => body.push_str("&lt;"),
            '>' => body.push_str("&gt;"),
            '"' => body.push_str("&quot;"),
            '\t' => body.push_str("&#9;"),
            '\n' => body.push_str("&#10;"),
            '\r' => body.push_str("&#13;"),
            letter if is_allowed(letter) => body.push(letter),
            _ => body.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// XML 1.0, production 2, but for the white space that is written as references.
pub(super) const fn is_allowed(letter: char) -> bool {
    matches!(letter, ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether every parser takes a name for an element's.
pub(super) fn is_element_name(name: &str) -> bool {
    let is_letter = |letter: char| {
        letter.is_ascii_alphabetic()
            || LETTERS
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&letter))
    };
    let mut letters = name.chars();
    let begins = letters
        .next()
        .is_some_and(|letter| is_letter(letter) || letter == '_');
    let goes_on = |letter| is_letter(letter) || matches!(letter, '0'..='9' | '-' | '_' | '.');
    let reserved = name
        .get(..3)
        .is_some_and(|start| start.eq_ignore_ascii_case("xml"));
    begins && letters.all(goes_on) && !reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(json: &str) -> String {
        let written = write(Tokens::of(json.as_bytes()).unwrap(), 1024 * 1024).unwrap();
        written.strip_prefix(DECLARATION).unwrap().to_owned()
    }

    #[test]
    fn members_are_elements_and_items_are_items() {
        assert_eq!(
            xml(r#"{"type":"ringing","data":{"tags":["a",["b",{"c":1}]],"a":1.0,"a":1e400,"t":true}}"#),
            "<event><type>ringing</type><data><tags><item>a</item><item><item>b</item><item><c>1</c></item></item></tags>\
             <a>1.0</a><a>1e400</a><t>true</t></data></event>"
        );
    }

    #[test]
    fn what_is_empty_is_an_empty_element() {
        assert_eq!(
            xml(r#"{"n":null,"s":"","o":{},"l":[]}"#),
            "<event><n/><s></s><o></o><l></l></event>"
        );
        assert_eq!(xml("null"), "<event/>");
        assert_eq!(
            (xml("[1]"), xml("5")),
            (
                "<event><item>1</item></event>".to_owned(),
                "<event>5</event>".to_owned()
            )
        );
    }

    #[test]
    fn a_name_that_xml_forbids_is_an_entry() {
        assert_eq!(
            xml(r#"{"a b":1,"":2,"1":3,"a:b":4,"XMLx":5,"<\"&\n":{"x":null}}"#),
            "<event><entry name=\"a b\">1</entry><entry name=\"\">2</entry><entry name=\"1\">3</entry>\
             <entry name=\"a:b\">4</entry><entry name=\"XMLx\">5</entry>\
             <entry name=\"&lt;&quot;&amp;&#10;\"><x/></entry></event>"
        );
        for good in ["_a-1.b", "été", "имя", "名前", "xm", "이름"] {
            assert!(is_element_name(good), "{good}");
        }
        for bad in ["-a", ".a", "9a", "a×b", "a\u{301}b\u{1f600}", "xml", "𐀀"] {
            assert!(!is_element_name(bad), "{bad}");
        }
    }

    #[test]
    fn text_is_escaped_and_what_xml_forbids_is_replaced() {
        assert_eq!(
            xml(r#"["<a>&\"'\r\n\t\u0000\u001b\u0085\ufffe\ud800😀]]>"]"#),
            "<event><item>&lt;a&gt;&amp;&quot;'&#13;&#10;&#9;\u{fffd}\u{fffd}\u{85}\u{fffd}\u{fffd}😀]]&gt;</item></event>"
        );
    }
}
