//! The lines of a batch, read ahead by a thread and gathered into requests.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read as _},
    os::fd::AsFd as _,
    thread,
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time};

use crate::cli::{
    failure::Usage,
    input::Source,
    limits::{BATCH_BYTES, BATCH_LINES, BATCH_PAUSE, CHUNK_BYTES, DATA_BYTES, LINES_AHEAD},
};

/// What some editors write before the first letter of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the source, from 1 on, blank lines included.
    pub number: u64,
    /// With a line feed at its end.
    pub bytes: Vec<u8>,
}

/// Lines for one request.
pub struct Batch {
    pub lines: Vec<Line>,
    /// Set on the last: all is read, or which line could not be read and why.
    pub end: Option<Result<(), (u64, anyhow::Error)>>,
}

/// Lines of a file or of stdin.
pub struct Lines {
    read: mpsc::Receiver<io::Result<Line>>,
    next: Option<Line>,
    last: u64,
}

impl Lines {
    /// # Errors
    ///
    /// A source that is neither a file nor stdin, or cannot be opened.
    pub fn open(source: &str) -> anyhow::Result<Self> {
        let file = match Source::of(source) {
            Source::Stdin => fs::File::from(
                io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .context("cannot read stdin")?,
            ),
            Source::File(path) => fs::File::open(path).with_context(|| format!("cannot read {path}"))?,
            Source::Inline(_) => return Err(Usage("--batch takes @FILE, or - for stdin".to_owned()).into()),
        };
        Self::of(file).context("cannot start a thread")
    }

    /// The thread ends with the source, with the process, or when nobody takes its lines any more.
    fn of(source: impl io::Read + Send + 'static) -> io::Result<Self> {
        let (sender, read) = mpsc::channel(LINES_AHEAD);
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            let mut source = BufReader::with_capacity(CHUNK_BYTES, source);
            let mut number = 0;
            while let Some(line) = next_line(&mut source, &mut number).transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self {
            read,
            next: None,
            last: 0,
        })
    }

    /// As many lines as go into one request; fewer at the end, and when the source pauses, so that a slow one is not
    /// kept waiting.
    pub async fn next_batch(&mut self) -> Batch {
        let mut lines: Vec<Line> = self.next.take().into_iter().collect();
        let mut bytes = lines.iter().map(|line| line.bytes.len()).sum::<usize>();
        loop {
            if lines.len() == BATCH_LINES {
                return Batch { lines, end: None };
            }
            let read = if lines.is_empty() {
                self.read.recv().await
            } else {
                match time::timeout(BATCH_PAUSE, self.read.recv()).await {
                    Ok(read) => read,
                    Err(_) => return Batch { lines, end: None },
                }
            };
            let line = match read {
                None => {
                    return Batch {
                        lines,
                        end: Some(Ok(())),
                    };
                }
                Some(Err(error)) => {
                    let end = Err((self.last + 1, error.into()));
                    return Batch {
                        lines,
                        end: Some(end),
                    };
                }
                Some(Ok(line)) => line,
            };
            self.last = line.number;
            bytes += line.bytes.len();
            if bytes > BATCH_BYTES && !lines.is_empty() {
                self.next = Some(line);
                return Batch { lines, end: None };
            }
            lines.push(line);
        }
    }
}

/// The next line that is not blank. `number` is that of the line read last.
fn next_line(source: &mut impl BufRead, number: &mut u64) -> io::Result<Option<Line>> {
    loop {
        let mut bytes = Vec::new();
        if source.by_ref().take(DATA_BYTES).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        *number += 1;
        if bytes.len() as u64 == DATA_BYTES && !bytes.ends_with(b"\n") {
            return Err(io::Error::other(format!("it is longer than {DATA_BYTES} bytes")));
        }
        if *number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        return Ok(Some(Line {
            number: *number,
            bytes,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, text: &str) -> Line {
        Line {
            number,
            bytes: text.as_bytes().to_vec(),
        }
    }

    async fn batches(source: impl io::Read + Send + 'static) -> (Vec<Vec<Line>>, Option<(u64, String)>) {
        let mut lines = Lines::of(source).unwrap();
        let mut batches = Vec::new();
        loop {
            let batch = lines.next_batch().await;
            batches.push(batch.lines);
            if let Some(end) = batch.end {
                return (batches, end.err().map(|(line, why)| (line, why.to_string())));
            }
        }
    }

    #[tokio::test]
    async fn blank_lines_count_but_are_not_sent_and_a_byte_order_mark_is_no_part_of_the_first() {
        let source = io::Cursor::new(b"\xef\xbb\xbf{\"a\":1}\r\n\n  \r\n{\"a\":2}".to_vec());
        let (batches, end) = batches(source).await;
        assert_eq!(end, None);
        let lines: Vec<Line> = batches.into_iter().flatten().collect();
        assert_eq!(lines, [line(1, "{\"a\":1}\r\n"), line(4, "{\"a\":2}\n")]);
    }

    #[tokio::test]
    async fn a_request_has_so_many_lines_and_so_many_bytes_at_the_most() {
        let many = "1\n".repeat(BATCH_LINES * 2 + 1).into_bytes();
        let (by_count, _) = batches(io::Cursor::new(many)).await;
        assert!(by_count.iter().all(|batch| batch.len() <= BATCH_LINES));
        assert_eq!(by_count.iter().map(Vec::len).sum::<usize>(), BATCH_LINES * 2 + 1);
        let long = format!("\"{}\"\n", "x".repeat(BATCH_BYTES / 3));
        let (by_bytes, _) = batches(io::Cursor::new(long.repeat(7).into_bytes())).await;
        for batch in &by_bytes {
            assert!(batch.iter().map(|line| line.bytes.len()).sum::<usize>() <= BATCH_BYTES);
        }
        assert_eq!(by_bytes.iter().map(Vec::len).sum::<usize>(), 7);
    }

    #[tokio::test]
    async fn a_source_that_fails_gives_the_lines_before_and_the_number_of_the_next() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let source = io::Cursor::new(b"1\n2\n".to_vec()).chain(Broken);
        let (batches, end) = batches(source).await;
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 2);
        assert_eq!(end, Some((3, "the disk is gone".to_owned())));
    }
}
