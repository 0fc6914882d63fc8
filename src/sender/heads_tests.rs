use std::{collections::VecDeque, task::Waker};

use super::*;

/// A stream of these pieces, each given by one read.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What hyper gets of bytes that come in pieces of this size, with room for so many at a time.
fn given(bytes: &[u8], piece: usize, room: usize) -> io::Result<Vec<u8>> {
    let pieces = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
    let shared = Arc::<Shared>::default();
    shared.expect_head();
    let mut heads = Heads::new(Pieces(pieces), shared);
    let mut given = Vec::new();
    loop {
        let mut room = vec![0; room];
        let mut buf = ReadBuf::new(&mut room);
        let polled = Pin::new(&mut heads).poll_read(&mut Context::from_waker(Waker::noop()), buf.unfilled());
        let Poll::Ready(read) = polled else {
            panic!("the stream always has something")
        };
        read?;
        if buf.filled().is_empty() {
            return Ok(given);
        }
        given.extend_from_slice(buf.filled());
    }
}

/// The same however the bytes come, as text.
fn text(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let whole = given(bytes, bytes.len(), 8192).unwrap();
    for (piece, room) in [(1, 8192), (7, 5), (64, 64), (bytes.len(), 1)] {
        assert_eq!(given(bytes, piece, room).unwrap(), whole, "{piece} {room}");
    }
    String::from_utf8_lossy(&whole).into_owned()
}

#[test]
fn a_regular_answer_is_handed_on_as_it_came() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200\r\n\r\nto the end",
        "HTTP/1.1 204 No Content\n\n",
        "\r\nHTTP/1.1 503 X\r\nx-a:\r\nretry-after: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 Sch\u{f6}n\r\nx-info: \u{e9}t\u{e9}\tx\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nbytes",
    ] {
        assert_eq!(text(answer), answer);
    }
}

#[test]
fn what_is_no_answer_or_not_a_whole_one_is_for_hyper_to_judge() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "<html>",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad line\r\ncontent-le",
        "HTTP/1.1 20",
        "",
    ] {
        assert_eq!(
            given(bytes.as_bytes(), bytes.len().max(1), 8192).unwrap(),
            bytes.as_bytes()
        );
    }
}

#[test]
fn lines_that_do_not_parse_are_left_out_and_the_rest_is_read() {
    let rest = "content-length: 2\r\nConnection: keep-alive\r\nretry-after: 7\r\n\r\nok";
    let read = "content-length: 2\r\nconnection: close\r\n\r\nok";
    for odd in [
        "set-cookie: session=ab\u{1}cd; path=/",
        "set-cookie: a=b; domain=\u{7f}example",
        "x-info : a",
        "x info: a",
        "x-gr\u{f6}\u{df}e: a",
        ": a",
        "a warning that was printed",
        "x-info: a\r\n and b",
        "x-info: a\r\n\tretry-after: 9",
        "x-info: a\0b",
        "x-info: a\rretry-after: 9",
        "retry-after: 9\u{1}",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{odd}\r\n{rest}");
        assert_eq!(
            text(answer),
            format!("HTTP/1.1 200\r\nretry-after: 7\r\n{read}"),
            "{odd:?}"
        );
    }
    let many: String = (0..120).map(|number| format!("x-{number}: a\r\n")).collect();
    assert_eq!(
        text(format!("HTTP/1.1 200 OK\r\n{many}{rest}")),
        format!("HTTP/1.1 200\r\nretry-after: 7\r\n{read}")
    );
    assert_eq!(
        text(format!("HTTP/1.1 410 No\u{1}\r\n{rest}")),
        format!("HTTP/1.1 410\r\nretry-after: 7\r\n{read}")
    );
}

#[test]
fn a_header_that_is_read_is_found_behind_a_space_and_over_two_lines() {
    let answer =
        "HTTP/1.1 429 X\nContent-Length : 2\nRetry-After :  120 \nLocation: /a\n  b\nLocation: /c\n\nok";
    assert_eq!(
        text(answer),
        "HTTP/1.1 429\r\nretry-after: 120\r\nlocation: /a b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    );
}

#[test]
fn a_body_whose_length_is_unclear_ends_before_its_first_byte() {
    let broken = "HTTP/1.1 200\r\ncontent-length: 1\r\nconnection: close\r\n\r\n";
    for framing in [
        "content-length: 2\r\ncontent-length: 3",
        "content-length: 2, 3",
        "content-length: -2",
        "content-length: 2\u{1}",
        "content-length : two",
        "content-length: 2\r\n 3",
        "content-length:",
        "content-length: 99999999999999999999999",
        "transfer-encoding: chunked\u{1}",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nok");
        assert_eq!(text(answer), broken, "{framing:?}");
    }
    assert_eq!(
        text("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        broken
    );
    // Where both are there the coding holds (RFC 9112, 6.3), and nothing more is sent there.
    assert_eq!(
        text("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n"
    );
}

#[test]
fn interim_answers_are_left_out_whatever_their_lines_are() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nbad line\r\n\r\nHTTP/1.1 199 X\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(text(format!("{interim}{answer}")), answer);
    assert_eq!(text(interim), "");
}

#[test]
fn a_head_that_has_no_end_within_the_limit_is_an_error() {
    let line = format!(
        "HTTP/1.1 200 OK\r\nx: {}\r\n\r\n",
        "y".repeat(limits::RESPONSE_HEAD_BYTES)
    );
    let lines = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "bad line\r\n".repeat(limits::RESPONSE_HEAD_BYTES)
    );
    for answer in [line, lines] {
        for piece in [1000, answer.len()] {
            let error = given(answer.as_bytes(), piece, 8192).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}

#[test]
fn an_unknown_interim_status_is_remembered_until_the_next_request() {
    for (answer, expected) in [
        ("HTTP/1.1 199 X\r\n\r\n", true),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 199 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false),
    ] {
        let shared = Arc::<Shared>::default();
        shared.expect_head();
        let mut heads = Heads::new(Pieces([answer.into()].into()), shared.clone());
        let mut room = [0; 64];
        let mut buf = ReadBuf::new(&mut room);
        let read = Pin::new(&mut heads).poll_read(&mut Context::from_waker(Waker::noop()), buf.unfilled());
        assert!(matches!(read, Poll::Ready(Ok(()))));
        assert_eq!(shared.is_stuck_at_unknown_interim(), expected, "{answer:?}");
        shared.expect_head();
        assert!(!shared.is_stuck_at_unknown_interim());
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_not_the_next_answer() {
    let shared = Arc::<Shared>::default();
    shared.expect_head();
    let answer = b"HTTP/1.1 200 OK\r\nbad line\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let mut heads = Heads::new(Pieces([answer.to_vec()].into()), shared.clone());
    let mut read = |room: usize| {
        let mut room = vec![0; room];
        let mut buf = ReadBuf::new(&mut room);
        Pin::new(&mut heads).poll_read(&mut Context::from_waker(Waker::noop()), buf.unfilled())
    };
    assert!(matches!(read(16), Poll::Ready(Ok(()))));
    assert!(shared.has_leftover());
    shared.expect_head();
    assert!(matches!(read(1024), Poll::Ready(Err(_))));
}
