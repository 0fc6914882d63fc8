//! File descriptors run out: nothing ends, nothing that was accepted is lost, and probes are answered.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::json;

use crate::{
    api_tcp::{address, ask},
    support::server::{Answer, PATIENCE, Server, read_answer},
};

const SMALL: [(&str, &str); 3] = [
    ("POSTHASTE_LIMITS__PAYLOAD", "8KiB"),
    ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
    ("POSTHASTE_STORAGE__MIN_FREE_BYTES", "0B"),
];

/// A connection that is open before descriptors run out.
struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    fn post(&mut self, id: &str) -> Answer {
        let body = json!({"id": id, "type": "a.b", "data": "x".repeat(4000)}).to_string();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + &body).as_bytes()).unwrap();
        read_answer(&mut self.reader).unwrap()
    }
}

fn segments(data: &Path) -> usize {
    let files = fs::read_dir(data.join("journal")).unwrap().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".seg")).count()
}

#[test]
fn idle_strangers_keep_neither_the_journal_nor_probes_nor_others_from_their_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start_limited(&data, 300, &["--listen", "127.0.0.1:0"], &SMALL);
    assert!(
        server.log().contains("the limit on file descriptors is too low"),
        "{}",
        server.log()
    );
    let mut client = Client::connect(&server);
    let tcp = address(&server);
    let strangers: Vec<_> = (0..400).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(ask(tcp, "GET", "/healthz", "", "").status, 200);
        assert_eq!(ask(tcp, "GET", "/readyz", "", "").status, 200);
    }
    for number in 0..60 {
        assert_eq!(client.post(&format!("e{number}")).status, 202, "{}", server.log());
    }
    assert!(segments(&data) >= 3);
    drop(strangers);
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
}
