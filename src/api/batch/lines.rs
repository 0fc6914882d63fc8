//! A body as lines, each read as an event.

use bytes::{Bytes, BytesMut};

use super::{BatchLimits, Cut, Line};
use crate::{
    api::{
        body,
        problem::{Kind, Problem},
    },
    domain::text,
};

/// Cuts a body into lines and reads each as an event. Holds at most one piece of the body and one line.
pub struct Lines<R> {
    limits: BatchLimits,
    read: R,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no line end.
    searched: usize,
    bytes: usize,
    lines: usize,
    ended: bool,
    /// A limit of the whole batch is broken: nothing more is read.
    broken: Option<Problem>,
}

impl<R: Fn(&Bytes) -> Line> Cut for Lines<R> {
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

    fn next(&mut self) -> Option<Line> {
        loop {
            if self.broken.is_some() {
                return None;
            }
            let line = self.cut()?;
            if text::without_mark(&line).trim_ascii().is_empty() {
                continue;
            }
            if !self.count() {
                return None;
            }
            return Some(match line.len() > self.limits.line_bytes {
                true => Err(self.too_long()),
                false => (self.read)(&line),
            });
        }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn broken(&mut self) -> Option<Problem> {
        self.broken.take()
    }

    fn nothing(&self) -> Option<&'static str> {
        Some("the body holds no event; send one JSON document a line")
    }
}

impl<R: Fn(&Bytes) -> Line> Lines<R> {
    pub fn new(limits: BatchLimits, read: R) -> Self {
        let buffer = BytesMut::new();
        Self {
            limits,
            read,
            buffer,
            searched: 0,
            bytes: 0,
            lines: 0,
            ended: false,
            broken: None,
        }
    }

    /// The next line without its end; `None` until it has come whole.
    fn cut(&mut self) -> Option<Bytes> {
        if let Some(place) = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let line = self.buffer.split_to(self.searched + place + 1).freeze();
            self.searched = 0;
            return Some(line.slice(..line.len() - 1));
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limits.line_bytes {
            // Answered for when its end comes; until then only the fact is kept, as one byte too many.
            self.searched = self.limits.line_bytes + 1;
            self.buffer.truncate(self.searched);
        }
        if !self.ended || self.buffer.is_empty() {
            return None;
        }
        self.searched = 0;
        Some(self.buffer.split().freeze())
    }

    fn count(&mut self) -> bool {
        self.lines += 1;
        if self.lines > self.limits.lines {
            let detail = format!(
                "a batch has at most {} lines; send the rest in another one",
                self.limits.lines
            );
            self.broken = Some(Problem::new(Kind::TooLarge, detail).closing());
            return false;
        }
        true
    }

    fn too_long(&self) -> Problem {
        let detail = format!("the line has more than {} bytes", self.limits.line_bytes);
        Problem::new(Kind::TooLarge, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::event_document;

    const LIMITS: BatchLimits = BatchLimits {
        lines: 1000,
        bytes: 1_000_000,
        line_bytes: 200,
    };

    #[test]
    fn a_line_without_an_end_is_held_to_its_limit() {
        let mut lines = Lines::new(LIMITS, event_document::read);
        for _ in 0..100 {
            lines.feed(&Bytes::from_static(&[b'x'; 1000]));
            assert!(lines.next().is_none());
            assert!(lines.buffer.len() <= LIMITS.line_bytes + 1);
        }
        lines.end();
        assert_eq!(lines.next().unwrap().unwrap_err().kind(), Kind::TooLarge);
        assert!(lines.next().is_none());
    }
}
