//! Notices requests that are framed twice.
//!
//! `Content-Length` together with `Transfer-Encoding` is how requests are smuggled past a proxy that believes the one
//! when the server believes the other. hyper does the safe thing: it believes `Transfer-Encoding`, hides
//! `Content-Length`, and closes the connection after the answer (RFC 9112, section 6.1). It does not tell, so the heads
//! are watched here as they pass, and such a request is refused.
//!
//! To find the heads, bodies are followed too. Where that is not possible the watch ends, and hyper's safety remains:
//! nothing is ever framed by what is read here.

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct Watch {
    place: Place,
    /// The present line; as much of it as a framing header can have.
    line: Vec<u8>,
    head: Head,
}

/// Where in a request the next byte belongs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    /// In a body of a known length, of which this many bytes are left.
    Body(u64),
    /// In the line before a chunk.
    ChunkSize,
    /// In a chunk and its line end.
    Chunk(u64),
    Trailer,
    /// The bytes cannot be followed any more.
    Lost,
}

/// What a head has said so far.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
}

/// `transfer-encoding` and a length of twenty digits fit with room to spare.
const LINE_BYTES: usize = 128;

impl Watch {
    /// Looks at the next bytes; says whether the head of a request that is framed twice has ended in them.
    pub fn sees_conflict(&mut self, mut bytes: &[u8]) -> bool {
        let mut conflict = false;
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Lost => return conflict,
                Place::Body(left) => self.pass(bytes, left, Place::Body, Place::Head),
                Place::Chunk(left) => self.pass(bytes, left, Place::Chunk, Place::ChunkSize),
                Place::Head | Place::ChunkSize | Place::Trailer => match self.take_line(bytes) {
                    Some(rest) => {
                        conflict |= self.end_line();
                        rest
                    }
                    None => return conflict,
                },
            };
        }
        conflict
    }

    /// Whether a body has begun and not ended.
    pub const fn in_body(&self) -> bool {
        !matches!(self.place, Place::Head | Place::Lost)
    }

    fn pass<'a>(&mut self, bytes: &'a [u8], left: u64, within: fn(u64) -> Place, after: Place) -> &'a [u8] {
        let passed = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - passed as u64;
        self.place = if left == 0 { after } else { within(left) };
        &bytes[passed..]
    }

    /// The bytes after the present line, when they hold its end.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        end.map(|end| &bytes[end + 1..])
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        match self.place {
            Place::Head if line.is_empty() => return self.end_head(),
            Place::Head => self.head.read(line),
            Place::ChunkSize => self.place = after_chunk_size(line),
            Place::Trailer if line.is_empty() => self.place = Place::Head,
            Place::Trailer | Place::Body(_) | Place::Chunk(_) | Place::Lost => {}
        }
        false
    }

    fn end_head(&mut self) -> bool {
        let Head { length, chunked } = std::mem::take(&mut self.head);
        self.place = match (chunked, length) {
            (true, _) => Place::ChunkSize,
            (false, Some(length)) if length > 0 => Place::Body(length),
            (false, _) => Place::Head,
        };
        chunked && length.is_some()
    }
}

impl Head {
    fn read(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(value.trim_ascii()).ok();
            // hyper refuses what is not a number, and closes.
            self.length = Some(text.and_then(|text| text.parse().ok()).unwrap_or(0));
        }
    }
}

fn after_chunk_size(line: &[u8]) -> Place {
    let size = line
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(0) => Place::Trailer,
        Some(size) => size.checked_add(2).map_or(Place::Lost, Place::Chunk),
        None => Place::Lost,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conflicts(text: &str, piece_bytes: usize) -> bool {
        let mut watch = Watch::default();
        text.as_bytes()
            .chunks(piece_bytes)
            .fold(false, |seen, piece| seen | watch.sees_conflict(piece))
    }

    const BOTH: &str = "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    const BOTH_TURNED: &str = "POST / HTTP/1.1\ntransfer-encoding: x\nX: y\ncontent-length: +4\n\n";
    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &str = "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab\r\nc";
    const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nab\n\r\n0A\r\n0123456789\r\n0\r\nt: u\r\n\r\n";

    #[test]
    fn a_request_framed_twice_is_seen_however_it_is_cut() {
        for piece_bytes in 1..BOTH.len() {
            assert!(
                conflicts(BOTH, piece_bytes) && conflicts(BOTH_TURNED, piece_bytes),
                "{piece_bytes}"
            );
            let after_others = [PLAIN, SIZED, CHUNKED, "\r\n", SIZED, BOTH].concat();
            assert!(conflicts(&after_others, piece_bytes), "{piece_bytes}");
            assert!(
                !conflicts(&[PLAIN, SIZED, CHUNKED, SIZED].concat(), piece_bytes),
                "{piece_bytes}"
            );
        }
    }

    #[test]
    fn what_stands_in_a_body_is_not_a_head() {
        let length = BOTH.len();
        assert!(!conflicts(
            &format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{BOTH}"),
            5
        ));
        let chunked =
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{BOTH}\r\n0\r\n\r\n");
        assert!(!conflicts(&chunked, 5));
    }

    #[test]
    fn a_body_begins_and_ends() {
        for whole in [SIZED, CHUNKED, PLAIN] {
            let mut watch = Watch::default();
            watch.sees_conflict(&whole.as_bytes()[..whole.len() - 1]);
            assert_eq!(watch.in_body(), whole != PLAIN, "{whole}");
            watch.sees_conflict(&whole.as_bytes()[whole.len() - 1..]);
            assert!(!watch.in_body(), "{whole}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_hold_more_than_a_line(bytes: Vec<u8>, start in 0..5_usize) {
            let place = [Place::Head, Place::Body(3), Place::ChunkSize, Place::Chunk(u64::MAX), Place::Trailer][start];
            let mut watch = Watch { place, ..Watch::default() };
            watch.sees_conflict(&bytes);
            prop_assert!(watch.line.len() <= LINE_BYTES);
        }
    }
}
