//! A connection's stream: watched for requests framed twice, with a deadline for peers that take nothing, and closed so
//! that the peer sees the last answer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::framing::Watch;

/// Whether a head with both framing headers has passed.
#[derive(Debug, Default)]
pub struct Conflict(AtomicBool);

impl Conflict {
    pub fn was_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// For how long the rest of a refused body is still taken. Closing at once would have the kernel answer it with a
/// reset, which can overtake our answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// A stream that is watched.
pub struct Watched<S> {
    stream: S,
    watch: Watch,
    conflict: Arc<Conflict>,
    write_timeout: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Set once our side is closed.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, write_timeout: Duration) -> (Self, Arc<Conflict>) {
        let conflict = Arc::<Conflict>::default();
        let watched = Self {
            stream,
            watch: Watch::default(),
            conflict: Arc::clone(&conflict),
            write_timeout,
            write_timer: None,
            linger: None,
        };
        (watched, conflict)
    }

    /// Fails a write that has made no progress for too long.
    fn timed<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Takes and drops what is left of a body, until it ends or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>, linger: &mut Pin<Box<Sleep>>) -> Poll<()> {
        let mut bytes = [0; 8192];
        while self.watch.in_body() && linger.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            self.watch.sees_conflict(buf.filled());
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.watch.sees_conflict(&buf.filled()[before..]) {
            this.conflict.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.timed(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.timed(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut linger = match this.linger.take() {
            Some(linger) => linger,
            None => {
                let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
                ready!(this.timed(cx, shut))?;
                Box::pin(sleep(LINGER))
            }
        };
        let lingered = this.poll_linger(cx, &mut linger);
        this.linger = Some(linger);
        lingered.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
    const BEGUN: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(8);
        let (mut stream, _) = Watched::new(ours, WRITE_TIMEOUT);
        let written = stream.write_all(&[b'x'; 100]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_refused_body_is_taken() {
        let (ours, mut theirs) = duplex(8);
        let (mut stream, _) = Watched::new(ours, WRITE_TIMEOUT);
        let begin = async {
            theirs.write_all(BEGUN).await.unwrap();
            theirs.write_all(&[b'x'; 100]).await
        };
        let refuse = async {
            stream.read_exact(&mut [0; BEGUN.len()]).await.unwrap();
            stream.shutdown().await
        };
        let (sent, shut) = tokio::join!(begin, refuse);
        assert!(sent.is_ok() && shut.is_ok(), "{sent:?} {shut:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let (ours, mut theirs) = duplex(1000);
        let (mut stream, _) = Watched::new(ours, WRITE_TIMEOUT);
        theirs.write_all(BEGUN).await.unwrap();
        stream.read_exact(&mut [0; BEGUN.len()]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
