//! A body as a JSON list, each element of it read as an event.
//!
//! Only brackets and strings are followed, to find where an element ends; whether an element is JSON is the question
//! of who reads it, so that one bad element costs the others nothing.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{BatchLimits, Cut, Line};
use crate::{
    api::{
        body,
        problem::{Kind, Problem},
    },
    domain::text,
};

/// Cuts a body into the elements of its list. Holds at most one piece of the body and one element.
pub struct Elements<R> {
    limits: BatchLimits,
    read: R,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known not to end the element.
    searched: usize,
    nesting: Nesting,
    stage: Stage,
    bytes: usize,
    count: usize,
    ended: bool,
    broken: Option<Problem>,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Stage {
    /// The list has not begun.
    Before,
    Inside,
    /// The list is closed.
    Behind,
}

/// Where in an element a byte stands.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether a byte stands behind the element: the comma or bracket that ends it.
    fn ends_before(&mut self, byte: u8) -> bool {
        match (self.in_string, byte) {
            (true, _) if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (_, b'"') => self.in_string = !self.in_string,
            (true, _) => {}
            (false, b',' | b']') if self.depth == 0 => return true,
            (false, b'[' | b'{') => self.depth += 1,
            (false, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl<R: Fn(&Bytes) -> Line> Elements<R> {
    pub fn new(limits: BatchLimits, read: R) -> Self {
        Self {
            limits,
            read,
            buffer: BytesMut::new(),
            searched: 0,
            nesting: Nesting::default(),
            stage: Stage::Before,
            bytes: 0,
            count: 0,
            ended: false,
            broken: None,
        }
    }

    /// Steps over the beginning of the list.
    fn begin(&mut self) {
        if text::is_utf16(&self.buffer) {
            return self.break_off(&format!("the body {}", text::UTF16));
        }
        if !self.ended && text::begins_mark(&self.buffer) {
            return;
        }
        let mark = self.buffer.len() - text::without_mark(&self.buffer).len();
        self.buffer.advance(mark);
        self.skip_white_space();
        match self.buffer.first() {
            Some(b'[') => {
                self.buffer.advance(1);
                self.stage = Stage::Inside;
            }
            Some(_) => self.break_off("the body is not a JSON list of CloudEvents"),
            None if self.ended => self.break_off("the body is empty; send a JSON list of CloudEvents"),
            None => {}
        }
    }

    /// The next element and the byte behind it; `None` until it has come whole.
    fn cut(&mut self) -> Option<(Bytes, u8)> {
        let nesting = &mut self.nesting;
        let unsearched = self.buffer[self.searched..].iter();
        let found = unsearched.copied().position(|byte| nesting.ends_before(byte));
        if let Some(place) = found {
            let element = self.buffer.split_to(self.searched + place).freeze();
            self.searched = 0;
            return Some((element, self.buffer.get_u8()));
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limits.line_bytes {
            // Answered for when its end comes; until then only the fact is kept, as one byte too many.
            self.searched = self.limits.line_bytes + 1;
            self.buffer.truncate(self.searched);
        }
        if self.ended {
            self.break_off("the list is not closed");
        }
        None
    }

    fn element(&mut self, element: &Bytes, behind: u8) -> Option<Line> {
        if behind == b']' {
            self.stage = Stage::Behind;
        }
        if element.trim_ascii().is_empty() {
            if behind != b']' || self.count > 0 {
                self.break_off("an element of the list is missing at a comma");
            }
            return None;
        }
        self.count += 1;
        if self.count > self.limits.lines {
            let detail = format!(
                "a batch has at most {} events; send the rest in another one",
                self.limits.lines
            );
            self.broken = Some(Problem::new(Kind::TooLarge, detail).closing());
            return None;
        }
        if element.len() > self.limits.line_bytes {
            let detail = format!("the event has more than {} bytes", self.limits.line_bytes);
            return Some(Err(Problem::new(Kind::TooLarge, detail)));
        }
        Some((self.read)(element))
    }

    fn break_off(&mut self, detail: &str) {
        self.broken = Some(Problem::new(Kind::MalformedDocument, detail));
    }

    fn skip_white_space(&mut self) {
        let spaces = self.buffer.len() - self.buffer.trim_ascii_start().len();
        self.buffer.advance(spaces);
    }
}

impl<R: Fn(&Bytes) -> Line> Cut for Elements<R> {
    fn feed(&mut self, data: &Bytes) {
        self.bytes += data.len();
        if self.bytes > self.limits.bytes {
            self.broken = Some(body::too_large(self.limits.bytes));
            self.buffer.clear();
            return;
        }
        self.buffer.extend_from_slice(data);
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn next(&mut self) -> Option<Line> {
        while self.broken.is_none() {
            if self.searched == 0 {
                self.skip_white_space();
            }
            match self.stage {
                Stage::Before => {
                    self.begin();
                    if self.stage == Stage::Before {
                        return None;
                    }
                }
                Stage::Inside => {
                    let (element, behind) = self.cut()?;
                    if let Some(line) = self.element(&element, behind) {
                        return Some(line);
                    }
                }
                Stage::Behind => {
                    if !self.buffer.is_empty() {
                        self.break_off("there is more behind the list");
                    }
                    return None;
                }
            }
        }
        None
    }

    fn broken(&mut self) -> Option<Problem> {
        self.broken.take()
    }

    /// A batch of no CloudEvents is one.
    fn nothing(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        lines: 10,
        bytes: 10_000,
        line_bytes: 40,
    };

    /// What a body is cut into, fed in pieces; a problem stands for what is not read.
    fn cut(body: &str, piece: usize) -> (Vec<String>, Option<String>) {
        let seen = std::cell::RefCell::new(Vec::new());
        let read = |element: &Bytes| {
            seen.borrow_mut()
                .push(String::from_utf8_lossy(element).trim().to_owned());
            Err(Problem::new(Kind::Invalid, "not read"))
        };
        let mut elements = Elements::new(LIMITS, read);
        let mut refused = None;
        let mut drain = |elements: &mut Elements<_>| {
            while let Some(line) = elements.next() {
                let problem = line.unwrap_err();
                if problem.kind() == Kind::TooLarge {
                    seen.borrow_mut().push("too long".to_owned());
                }
            }
            refused = refused
                .take()
                .or(elements.broken().map(|problem| problem.detail().to_owned()));
        };
        for piece in body.as_bytes().chunks(piece) {
            elements.feed(&Bytes::copy_from_slice(piece));
            drain(&mut elements);
            assert!(elements.buffer.len() <= LIMITS.line_bytes + 1 + piece.len());
        }
        elements.end();
        drain(&mut elements);
        drop(elements);
        (seen.into_inner(), refused)
    }

    #[test]
    fn elements_are_cut_wherever_the_body_is_broken() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(200));
        let body = format!(" [ {{\"a\":[1,\"],\\\"\"]}} ,5,\n\"}},\",{long}, {{]}},[[]] ] \n");
        let expected = ["{\"a\":[1,\"],\\\"\"]}", "5", "\"},\"", "too long", "{]}", "[[]]"];
        for piece in [1, 2, 3, 7, 1000] {
            let (seen, refused) = cut(&body, piece);
            assert_eq!(
                (seen, refused),
                (expected.map(str::to_owned).to_vec(), None),
                "{piece}"
            );
        }
        assert_eq!(cut("[]", 1), (Vec::new(), None));
    }

    #[test]
    fn what_is_no_list_is_said() {
        for (body, said) in [
            ("", "empty"),
            ("{}", "not a JSON list"),
            ("[1", "not closed"),
            ("[1,", "not closed"),
            ("[1,]", "missing"),
            ("[,1]", "missing"),
            ("[1],2", "behind the list"),
            ("[1,2,3,4,5,6,7,8,9,10,11]", "at most 10 events"),
        ] {
            let (_, refused) = cut(body, 2);
            assert!(
                refused.as_deref().is_some_and(|text| text.contains(said)),
                "{body}: {refused:?}"
            );
        }
    }
}
