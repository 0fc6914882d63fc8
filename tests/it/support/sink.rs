//! A receiver that keeps what it got and answers as it is told.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn event_id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

type Decide = dyn Fn(&Received, usize) -> String + Send + Sync;

/// Listens on a port of its own until the test ends. One thread a connection, kept alive.
pub struct Sink {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

/// An answer with a status and further header lines, each ended by CRLF.
pub fn answer(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: 2\r\n\r\nok")
}

impl Sink {
    /// Answers everything with 200.
    pub fn accepting() -> Self {
        Self::deciding(|_, _| answer(200, ""))
    }

    /// Answers each request with the bytes that `decide` gives for it and for the number of requests before it.
    pub fn deciding(decide: impl Fn(&Received, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (kept, decide): (_, Arc<Decide>) = (received.clone(), Arc::new(decide));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, decide) = (kept.clone(), decide.clone());
                thread::spawn(move || serve(stream, &kept, &*decide));
            }
        });
        Self { address, received }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Received>>, decide: &Decide) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = read(&mut reader)?;
        let before = {
            let mut kept = kept.lock().unwrap();
            kept.push(request.clone());
            kept.len() - 1
        };
        writer.write_all(decide(&request, before).as_bytes()).ok()?;
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        method,
        path,
        headers,
        body,
    })
}
