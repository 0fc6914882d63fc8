//! Text from elsewhere, made fit for a terminal.
//!
//! Names, answers and paths may hold escape sequences that repaint the screen, and letters that turn the
//! order of a line around. They are shown by their code instead.

use std::borrow::Cow;

/// Whether a letter may change how the rest of a screen reads: control characters, what sets the direction of
/// writing, what takes no room, line separators, and the tags.
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with every unsafe letter written as its escape: `\n`, `\u{202e}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let letter = |letter: char| match is_unsafe(letter) {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(letter).collect())
}

/// A JSON document on one line, every unsafe letter escaped; it means what it meant.
///
/// In a valid document an unsafe letter stands in a string, but for the white space between the values.
pub fn json_line(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for letter in document.chars() {
        match letter {
            '\n' | '\r' | '\t' => out.push(' '),
            _ if is_unsafe(letter) => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_repaint_a_terminal_is_shown_by_its_code() {
        assert_eq!(
            escaped("a\u{1b}[31m\n\u{202e}b\u{9b}é"),
            "a\\u{1b}[31m\\n\\u{202e}b\\u{9b}é"
        );
        assert!(matches!(escaped("plain, é, 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_document_on_one_line_means_what_it_meant() {
        let document = "{\n  \"a\u{202e}\": [1.50,\r\n\t\"\u{e0001}\u{7f}\\n\"]\n}";
        let line = json_line(document);
        assert!(!line.contains(is_unsafe), "{line}");
        assert!(line.contains("1.50"), "numbers are kept as they were written");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&line), read(document));
    }
}
