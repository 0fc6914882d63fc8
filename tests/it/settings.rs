//! What is configured is what happens.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::support::server::{PATIENCE, Server};

/// A byte comes often enough that no pause between two is too long; the whole takes too long all the same.
#[test]
fn a_body_that_drips_is_given_up_after_the_body_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        &dir.path().join("data"),
        &["--no-listen"],
        &[("POSTHASTE_API__BODY_TIMEOUT", "1s")],
    );
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream
        .write_all(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        .unwrap();
    // The pace of the drip: what waits for the answer between two bytes.
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let started = Instant::now();
    let mut answer = [0; 12];
    loop {
        assert!(started.elapsed() < PATIENCE, "the drip is taken for ever");
        // The server may close before it has read everything.
        _ = stream.write_all(b" ");
        match stream.read_exact(&mut answer) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
}
