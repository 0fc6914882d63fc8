//! Heads of HTTP/1.1 answers, such that hyper reads them.
//!
//! hyper refuses an answer for one header line that breaks the grammar, though its status has said what became of the
//! event. [`Heads`] stands between hyper and the stream. It holds the bytes of a head back until the head is whole, and
//! hands it on as it came if hyper will read it. Otherwise it writes the head anew: the status, those headers that
//! the sender reads and that can be read, and `connection: close`, since nobody knows what the receiver and everything
//! on the way to it make of such a head.
//!
//! Where the headers that say how long the body is contradict each other or cannot be read, the body counts as broken
//! off before its first byte.
//!
//! What does not begin with a status line goes to hyper as it is: judging that is hyper's part.

use std::{
    borrow::Cow,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::answer;
use crate::domain::limits;

/// Read at once while a head is awaited: most answers are smaller.
const CHUNK: usize = 4 * 1024;
/// `HTTP/1.1 200` and the byte behind it.
const STATUS_LINE: usize = 13;

/// A stream whose answers' heads hyper reads.
pub(super) struct Heads<S> {
    stream: S,
    shared: Arc<Shared>,
    state: State,
    /// What has come of a head.
    held: BytesMut,
    /// Bytes of `held` that were looked through for its end.
    searched: usize,
    /// What hyper gets next.
    ready: BytesMut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next bytes are a head.
    Head,
    /// Bytes go to hyper as they come.
    Through,
    /// hyper is told that the stream has ended.
    Ended,
}

/// What whoever uses the connection and its stream tell each other. Both are polled by one task.
#[derive(Default)]
pub(super) struct Shared {
    is_head_next: AtomicBool,
    has_leftover: AtomicBool,
    /// The last interim status that came in place of an answer; 0 for none.
    interim: AtomicU16,
}

impl Shared {
    /// A request goes out: what comes next is the head of its answer.
    pub(super) fn expect_head(&self) {
        self.interim.store(0, Ordering::Relaxed);
        self.is_head_next.store(true, Ordering::Relaxed);
    }

    /// Whether bytes have come that hyper did not want.
    pub(super) fn has_leftover(&self) -> bool {
        self.has_leftover.load(Ordering::Relaxed)
    }

    /// Whether the answer so far is an interim status that HTTP does not know, as from a receiver that takes it for a final one.
    pub(super) fn is_stuck_at_unknown_interim(&self) -> bool {
        !matches!(self.interim.load(Ordering::Relaxed), 0 | 100 | 102 | 103)
    }
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            shared,
            state: State::Head,
            held: BytesMut::new(),
            searched: 0,
            ready: BytesMut::new(),
        }
    }

    /// Sorts out what is held: a whole head becomes ready, with what came behind it.
    fn sort(&mut self) -> io::Result<()> {
        while self.state == State::Head {
            let Some(found) = Found::in_bytes(&self.held, &mut self.searched) else {
                // hyper's own bound cannot show while it gets nothing.
                let is_too_long = self.held.len() >= limits::RESPONSE_HEAD_BYTES;
                return if is_too_long { Err(too_long()) } else { Ok(()) };
            };
            let Found::Head { status, end } = found else {
                self.pass_on();
                return Ok(());
            };
            if end > limits::RESPONSE_HEAD_BYTES {
                return Err(too_long());
            }
            self.searched = 0;
            let bytes = self.held.split_to(end);
            if is_interim(status) {
                self.shared.interim.store(status, Ordering::Relaxed);
                continue;
            }
            self.shared.interim.store(0, Ordering::Relaxed);
            let head = Head::of(&bytes);
            if head.is_regular() {
                self.ready.extend_from_slice(&bytes);
                self.pass_on();
            } else if let Some(anew) = head.anew(status) {
                self.ready.extend_from_slice(&anew);
                self.pass_on();
            } else {
                let broken = format!("HTTP/1.1 {status}\r\ncontent-length: 1\r\nconnection: close\r\n\r\n");
                self.ready.extend_from_slice(broken.as_bytes());
                self.held.clear();
                self.state = State::Ended;
            }
        }
        Ok(())
    }

    /// From here on hyper gets what comes, beginning with what is held.
    fn pass_on(&mut self) {
        self.ready.unsplit(self.held.split());
        self.searched = 0;
        self.state = State::Through;
    }

    fn give(&mut self, buf: &mut ReadBufCursor<'_>) {
        let length = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        if self.ready.is_empty() {
            // An idle connection keeps no memory for it.
            self.ready = BytesMut::new();
        }
    }
}

impl<S: Read + Unpin> Heads<S> {
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut read = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(cx, read.unfilled()))?;
        let came = read.filled();
        if came.is_empty() {
            // What is missing is for hyper to say.
            self.pass_on();
            return Poll::Ready(Ok(()));
        }
        // Mostly the whole answer comes at once, and is fine.
        if self.held.is_empty() && came.len() <= buf.remaining() && is_regular_whole(came) {
            buf.put_slice(came);
            self.state = State::Through;
            return Poll::Ready(Ok(()));
        }
        self.held.extend_from_slice(came);
        Poll::Ready(self.sort())
    }
}

impl<S: Read + Unpin> Read for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.shared.is_head_next.swap(false, Ordering::Relaxed) && this.state != State::Ended {
            if !this.ready.is_empty() {
                return Poll::Ready(Err(unexpected()));
            }
            this.state = State::Head;
        }
        let room = buf.remaining();
        while this.ready.is_empty() {
            match this.state {
                State::Head => ready!(this.poll_more(cx, &mut buf))?,
                State::Through => return Pin::new(&mut this.stream).poll_read(cx, buf),
                State::Ended => return Poll::Ready(Ok(())),
            }
            if buf.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
        this.give(&mut buf);
        this.shared
            .has_leftover
            .store(!this.ready.is_empty(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the head of the answer is too long")
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer before its request")
}

/// Interim answers but for 101, after which no other comes.
const fn is_interim(status: u16) -> bool {
    matches!(status, 100 | 102..=199)
}

/// What the bytes that have come are.
enum Found {
    /// Not the beginning of an HTTP/1 answer.
    NoHttp,
    /// A head that ends before `end`.
    Head { status: u16, end: usize },
}

impl Found {
    /// `None` until more has come. Bytes before `searched` hold no end.
    fn in_bytes(bytes: &[u8], searched: &mut usize) -> Option<Self> {
        let status = match status(bytes) {
            Ok(Some(status)) => status,
            Ok(None) => return None,
            Err(NoStatus) => return Some(Self::NoHttp),
        };
        let from = searched.saturating_sub(2);
        *searched = bytes.len();
        let end = end_of_head(&bytes[from..])?;
        Some(Self::Head {
            status,
            end: from + end,
        })
    }
}

struct NoStatus;

/// The status of an answer; `None` while it may still come.
fn status(bytes: &[u8]) -> Result<Option<u16>, NoStatus> {
    let line = bytes.trim_ascii_start();
    let pattern = *b"HTTP/1.x ddd ";
    for (&byte, &wanted) in line.iter().zip(&pattern) {
        let fits = match wanted {
            b'x' => matches!(byte, b'0' | b'1'),
            b'd' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'\r' | b'\n'),
            _ => byte == wanted,
        };
        if !fits {
            return Err(NoStatus);
        }
    }
    let Some(digits) = line.get(9..STATUS_LINE - 1).filter(|_| line.len() >= STATUS_LINE) else {
        return Ok(None);
    };
    let digit = |at: usize| u16::from(digits[at] - b'0');
    match digit(0) * 100 + digit(1) * 10 + digit(2) {
        0..=99 => Err(NoStatus),
        status => Ok(Some(status)),
    }
}

/// Where the empty line that ends a head ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += bytes[from..].iter().position(|&byte| byte == b'\n')? + 1;
        match bytes[from..] {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
}

/// Whether bytes begin with a whole and final head that hyper reads.
fn is_regular_whole(bytes: &[u8]) -> bool {
    match Found::in_bytes(bytes, &mut 0) {
        Some(Found::Head { status, end }) => !is_interim(status) && Head::of(&bytes[..end]).is_regular(),
        Some(Found::NoHttp) | None => false,
    }
}

/// A head, from its status line to its empty line.
struct Head<'a>(&'a [u8]);

impl<'a> Head<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self(bytes.trim_ascii_start())
    }

    /// The status line and the header lines, without their ends.
    fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.split(|&byte| byte == b'\n');
        lines
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .take_while(|line| !line.is_empty())
    }

    fn is_http10(&self) -> bool {
        self.0.starts_with(b"HTTP/1.0")
    }

    /// Whether hyper reads it, and nobody can take the length of its body for another.
    fn is_regular(&self) -> bool {
        let mut lines = self.lines();
        let mut framing = Framing::default();
        let mut count = 0;
        let is_status_line_plain = lines.next().is_some_and(is_plain);
        is_status_line_plain
            && lines.all(|line| {
                count += 1;
                let Some((name, value)) = split(line) else {
                    return false;
                };
                framing.note(name, value);
                is_token(name) && is_plain(value) && count <= limits::RESPONSE_HEADERS
            })
            && framing.is_clear(self.is_http10())
            && (framing.is_chunked.is_none() || framing.length.is_none())
    }

    /// The head written anew, with what can be read of it; `None` where it is not clear how long the body is.
    fn anew(&self, status: u16) -> Option<Vec<u8>> {
        let mut head = format!("HTTP/1.{} {status}\r\n", u8::from(!self.is_http10())).into_bytes();
        let mut framing = Framing::default();
        let mut written = [false; answer::NAMES.len()];
        let mut lines = self.lines().skip(1).peekable();
        while let Some(line) = lines.next() {
            let Some((name, value)) = split(line) else {
                continue;
            };
            let name = name.trim_ascii_end();
            let mut value = Cow::Borrowed(value.trim_ascii());
            // A value may go on behind a line's end (RFC 9112, 5.2).
            while let Some(more) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
                value.to_mut().push(b' ');
                value.to_mut().extend_from_slice(more.trim_ascii());
            }
            framing.note(name, &value);
            let place = answer::NAMES.iter().position(|known| is(name, known));
            if let Some(place) = place.filter(|&place| !written[place] && is_plain(&value)) {
                written[place] = true;
                head.extend([answer::NAMES[place].as_bytes(), b": ", &value, b"\r\n"].concat());
            }
        }
        if !framing.is_clear(self.is_http10()) {
            return None;
        }
        match (framing.is_chunked, framing.length) {
            (Some(true), _) => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (None, Some(length)) => {
                head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
            // To the end of the connection.
            (Some(false), _) | (None, None) => {}
        }
        head.extend_from_slice(b"connection: close\r\n\r\n");
        Some(head)
    }
}

/// What the headers say of where the body ends (RFC 9112, 6.3).
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    /// Whether the last transfer coding is `chunked`, where there is one.
    is_chunked: Option<bool>,
    is_unclear: bool,
}

impl Framing {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        if is(name, "content-length") {
            for part in value.split(|&byte| byte == b',') {
                match length(part.trim_ascii()) {
                    Some(length) if self.length.is_none_or(|other| other == length) => {
                        self.length = Some(length);
                    }
                    Some(_) | None => self.is_unclear = true,
                }
            }
        } else if is(name, "transfer-encoding") {
            let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
            self.is_chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            self.is_unclear |= !is_plain(value);
        }
    }

    /// HTTP/1.0 has no transfer codings.
    const fn is_clear(&self, is_http10: bool) -> bool {
        !self.is_unclear && (!is_http10 || self.is_chunked.is_none())
    }
}

fn length(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    // More is as good as no number, and more than hyper counts.
    length.parse().ok().filter(|&length| length <= i64::MAX as u64)
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// A token (RFC 9110, 5.6.2).
fn is_token(name: &[u8]) -> bool {
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_of_token)
}

/// Text without controls; bytes past ASCII are text.
fn is_plain(value: &[u8]) -> bool {
    value
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
