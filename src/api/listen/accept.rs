//! The accept loops.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::Connections,
    unix::{self, SocketFile},
};
use crate::{api::auth::Via, runtime::shortage};

/// After an accept that failed for want of something that other tasks may give back.
const PAUSE: Duration = Duration::from_millis(100);
/// The same where connections were closed for it.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Idle connections of strangers that are closed at once when descriptors run short.
const RELIEF: usize = 32;

/// Something that connections come from.
pub trait Listen: Send {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    const VIA: Via;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Whether the peer may go on; otherwise it is closed unread.
    fn admits(stream: &Self::Stream) -> bool;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    const VIA: Via = Via::Tcp;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Answers are written whole; waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn admits(_: &TcpStream) -> bool {
        true
    }
}

impl Listen for SocketFile {
    type Stream = UnixStream;
    const VIA: Via = Via::Socket;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn admits(stream: &UnixStream) -> bool {
        unix::may_connect(stream)
    }
}

/// Accepts on one listener.
pub struct Acceptor {
    pub name: &'static str,
    pub max_connections: usize,
    pub connections: Arc<Connections>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Acceptor {
    /// Accepts until the stop, if there is a listener. It is closed when this returns.
    pub async fn run<L: Listen>(self, listener: Option<L>) {
        let accepting = async {
            match &listener {
                Some(listener) => self.accept_forever(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = accepting => {}
        }
    }

    async fn accept_forever<L: Listen>(&self, listener: &L) {
        let room = Arc::new(Semaphore::new(self.max_connections));
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shortage::descriptors_ran_short() => {
                    self.connections.idle.close_oldest(RELIEF);
                    continue;
                }
            };
            match accepted {
                Ok(stream) if L::admits(&stream) => {
                    failing = false;
                    let Some(permit) = self.place(&room, L::VIA).await else {
                        return;
                    };
                    let connections = Arc::clone(&self.connections);
                    self.tasks.spawn(async move {
                        connections.serve(stream, L::VIA).await;
                        drop(permit);
                    });
                }
                Ok(_) => tracing::warn!(listener = self.name, "a peer that is not allowed was closed"),
                Err(error) if is_about_the_peer(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(listener = self.name, error = %error, "connections cannot be accepted");
                    }
                    let closed = self.connections.idle.close_oldest(RELIEF);
                    tokio::time::sleep(if closed > 0 { SHORT_PAUSE } else { PAUSE }).await;
                }
            }
        }
    }

    /// A place for a connection. When all are taken, the stranger that is idle for longest makes room; where there is
    /// none, somebody has to leave.
    async fn place(&self, room: &Arc<Semaphore>, via: Via) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            if via == Via::Tcp {
                self.connections.idle.close_oldest(1);
            }
            // Nobody closes the semaphore.
            if let Ok(place) = timeout(PAUSE, Arc::clone(room).acquire_owned()).await {
                return place.ok();
            }
        }
    }
}

/// Whether only the one connection is lost; otherwise we lack something, such as descriptors.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::NotConnected | Kind::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::api::listen::ListenOptions;

    /// Gives what it holds, then nothing more.
    struct Scripted<const ADMITS: bool>(Mutex<VecDeque<io::Result<DuplexStream>>>);

    impl<const ADMITS: bool> Listen for Scripted<ADMITS> {
        type Stream = DuplexStream;
        const VIA: Via = Via::Tcp;

        async fn accept(&self) -> io::Result<DuplexStream> {
            let next = self.0.lock().unwrap().pop_front();
            match next {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }

        fn admits(_: &DuplexStream) -> bool {
            ADMITS
        }
    }

    /// Runs an acceptor over errors and then one stream; answers what the peer at its other end reads.
    async fn answer<const ADMITS: bool>(errors: Vec<io::Error>) -> String {
        let (ours, mut theirs) = duplex(1024);
        let script = errors.into_iter().map(Err).chain([Ok(ours)]).collect();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "served" }));
        let options = ListenOptions::default();
        let connections = Arc::new(Connections::new(
            router,
            &options,
            stop.clone(),
            CancellationToken::new(),
        ));
        let acceptor = Acceptor {
            name: "scripted",
            max_connections: 1,
            connections,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let accepting = tasks.spawn(acceptor.run(Some(Scripted::<ADMITS>(Mutex::new(script)))));
        // A peer that is closed unread cannot always write.
        _ = theirs
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        stop.cancel();
        accepting.await.unwrap();
        tasks.close();
        tasks.wait().await;
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_after_a_want_of_descriptors() {
        let emfile = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let aborted = io::ErrorKind::ConnectionAborted.into();
        assert!(
            answer::<true>(vec![emfile(), emfile(), aborted, emfile()])
                .await
                .ends_with("served")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_not_admitted_is_closed_unread() {
        assert_eq!(answer::<false>(Vec::new()).await, "");
    }
}
