//! The unix socket: its file, and who may connect.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream, unix::UCred};

use super::ListenError;

/// A bound socket. Its file is removed on drop, if it is still this one.
#[derive(Debug)]
pub struct SocketFile {
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds `path`; a socket file that nobody listens on any more is replaced.
    ///
    /// The file has the umask's permissions until `mode` is set, which gives nobody anything: each peer is checked
    /// by [`may_connect`].
    ///
    /// # Errors
    /// When somebody listens there, when something else is there, or when it cannot be bound.
    pub async fn bind(path: &Path, mode: u32) -> Result<Self, ListenError> {
        remove_stale(path).await?;
        let failed = |source| ListenError::Socket {
            path: path.to_owned(),
            source,
        };
        let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::SocketInUse(path.to_owned()),
            _ => failed(source),
        })?;
        let identity = identity(path).map_err(failed)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
            identity,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(socket)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // A file that stays is stale, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Socket {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::SocketInUse(path.to_owned())),
        // Its queue is full: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::SocketInUse(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket.path = %path.display(), "a socket file that nobody listens on is replaced");
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether the process at the other end may use the API: root, our own user, or our own group.
pub fn may_connect(stream: &UnixStream) -> bool {
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    stream.peer_cred().is_ok_and(|peer| is_allowed(&peer, own))
}

fn is_allowed(peer: &UCred, own: (u32, u32)) -> bool {
    allows((peer.uid(), peer.gid()), own)
}

const fn allows((uid, gid): (u32, u32), (own_uid, own_gid): (u32, u32)) -> bool {
    uid == 0 || uid == own_uid || gid == own_gid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_our_user_and_our_group_may_connect() {
        assert!(
            allows((0, 0), (1000, 1000))
                && allows((1000, 5), (1000, 1000))
                && allows((5, 1000), (1000, 1000))
        );
        assert!(!allows((1001, 1001), (1000, 1000)) && !allows((1001, 0), (1000, 1000)));
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_live_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = SocketFile::bind(&path, 0o600).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = SocketFile::bind(&path, 0o600).await;
        assert!(matches!(second, Err(ListenError::SocketInUse(_))), "{second:?}");
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "precious").unwrap();
        let bound = SocketFile::bind(&path, 0o660).await;
        assert!(matches!(bound, Err(ListenError::NotASocket(_))), "{bound:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = SocketFile::bind(&folder.path().join("no/such/folder.sock"), 0o660).await;
        assert!(matches!(nowhere, Err(ListenError::Socket { .. })), "{nowhere:?}");
    }

    #[tokio::test]
    async fn a_socket_file_of_another_server_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let first = SocketFile::bind(&path, 0o660).await.unwrap();
        fs::rename(&path, folder.path().join("moved.sock")).unwrap();
        let second = SocketFile::bind(&path, 0o660).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}
