//! Text from outside: its encoding, and what nobody sees in it.
//!
//! Two names that look alike are one name to whoever reads them, and a secret with a character that nobody sees signs
//! what no receiver can verify. Files from Windows begin with a byte order mark, pages have non-breaking spaces, and
//! what is copied out of a chat has spaces around it.

/// The byte order mark, as UTF-8 has it.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// What to say of a text that [`is_utf16`].
pub const UTF16: &str = "is in UTF-16; save it as UTF-8";

/// What to say of a text that is no label or secret, for what it begins or ends with.
pub const EDGE: &str = "begins or ends with white space; leave that out";
/// What to say of one that has a character that is not seen.
pub const UNSEEN: &str = "has a character that is not seen, or a space that is not the plain one: a control \
    character, a byte order mark, a non-breaking or zero-width space; leave it out";

/// Text without the byte order mark that it may begin with (RFC 8259, section 8.1).
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Whether bytes are the beginning of a byte order mark, and not all of it.
pub fn begins_mark(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() < MARK.len() && MARK.starts_with(bytes)
}

/// Whether bytes are text in UTF-16: by its mark, or by a zero byte among the first two, which no other text has.
pub fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, second, ..] => *second != 0,
        [first, 0, ..] => *first != 0,
        _ => false,
    }
}

/// Refuses a text that looks like another one: with white space around it, other spaces than the plain one, or
/// characters that are not seen. Says the rule.
///
/// # Errors
/// [`EDGE`] or [`UNSEEN`].
pub fn check_seen(text: &str) -> Result<(), &'static str> {
    let plain = |letter: char| !is_unseen(letter) && (letter == ' ' || !letter.is_whitespace());
    let ascii = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !ascii && !text.chars().all(plain) {
        return Err(UNSEEN);
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(EDGE);
    }
    Ok(())
}

/// Control characters, and those that only change how others are shown (Unicode's Cf, as far as they take no room).
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_another_text_is_refused() {
        for good in ["a", "Kunde 1 é", "日本", "a  b", "👍", ""] {
            assert_eq!(check_seen(good), Ok(()), "{good:?}");
        }
        for edge in [" a", "a ", " "] {
            assert_eq!(check_seen(edge), Err(EDGE), "{edge:?}");
        }
        for unseen in [
            "a\u{a0}b",
            "\u{a0}a",
            "a\u{2003}",
            "\u{feff}a",
            "a\u{200b}b",
            "a\u{200d}b",
            "a\u{ad}b",
            "a\tb",
            "a\n",
            "a\0",
            "a\u{202e}b",
            "a\u{3000}b",
            "a\u{2028}",
            "\u{2060}a",
            "a\u{85}",
        ] {
            assert_eq!(check_seen(unseen), Err(UNSEEN), "{unseen:?}");
        }
    }

    #[test]
    fn a_mark_is_taken_off_and_utf_16_is_known() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert!(begins_mark(b"\xef\xbb") && !begins_mark(b"\xef\xbb\xbf") && !begins_mark(b""));
        assert_eq!(without_mark(b"{}\xef\xbb\xbf"), b"{}\xef\xbb\xbf");
        for utf16 in [&b"\xff\xfe{\0"[..], b"\xfe\xff\0{", b"{\0}\0", b"\0{\0}"] {
            assert!(is_utf16(utf16), "{utf16:?}");
        }
        for other in [&b""[..], b"{", b"{}", b"\xef\xbb\xbf{", b"\0\0", b"\xff"] {
            assert!(!is_utf16(other), "{other:?}");
        }
    }
}
