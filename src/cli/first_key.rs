//! The first API key, made when a server with a TCP listener has none.
//!
//! A terminal is shown it. Anything else that stdout leads to keeps what it is given and has other readers: the system's
//! journal, a container's log. There it is written to a file in the data folder that its owner alone can read, and the log
//! says where.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{Format, Output};
use crate::{
    dispatch::{
        audit::{Asked, asked_by},
        engine::Engine,
    },
    domain::record::Role,
};

/// The file in the data folder.
const FILE: &str = "first-admin-key";

/// Makes a key when there is none, and shows it this once. The store has to be there for it; requests are answered
/// meanwhile.
pub(super) async fn make(engine: Engine, address: SocketAddr, data: PathBuf) {
    engine.caught_up().await;
    if !engine.keys().is_empty() {
        return;
    }
    let asked = Asked {
        actor: "posthaste serve".to_owned(),
        from: "start".to_owned(),
        reason: Some("there was no API key".to_owned()),
    };
    asked_by(asked, make_one(&engine, address, &data)).await;
}

async fn make_one(engine: &Engine, address: SocketAddr, data: &Path) {
    if io::stdout().is_terminal() {
        return show(engine, address).await;
    }
    // First the file: a key that nobody can read is of no use, and would keep the next start from making one.
    let file = match KeyFile::create(&data.join(FILE)) {
        Ok(file) => file,
        Err(error) => {
            let path = data.join(FILE);
            tracing::warn!(
                %error, path = %path.display(),
                "no API key was made, since the file for it could not be; move away what is there and start again, or run: posthaste key create --role admin --name NAME"
            );
            return;
        }
    };
    let (id, key) = match engine
        .create_key("first".to_owned(), Role::Admin, None, None)
        .await
    {
        Ok((view, key)) => (view.id, key),
        Err(error) => {
            file.remove();
            tracing::warn!(%error, "no API key was made; run: posthaste key create --role admin --name NAME");
            return;
        }
    };
    let path = file.path.clone();
    match file.write(&key) {
        Ok(()) => tracing::info!(
            path = %path.display(), %address,
            "made the first API key (role admin) and wrote it to this file, which its owner alone can read; move it away, or make others with: posthaste key create"
        ),
        Err(error) => {
            // It is of no use to anybody.
            let revoked = engine.revoke_key(id).await;
            tracing::warn!(
                %error, path = %path.display(), revoked = revoked.is_ok(),
                "the first API key could not be written; run: posthaste key create --role admin --name NAME"
            );
        }
    }
}

async fn show(engine: &Engine, address: SocketAddr) {
    match engine
        .create_key("first".to_owned(), Role::Admin, None, None)
        .await
    {
        Ok((_, key)) => {
            let text = format!("API key for http://{address} (role admin, shown this once): {key}\n");
            if let Err(error) = Output::new(Format::Table).text(&text) {
                tracing::warn!(error = %format!("{error:#}"), "the first API key could not be shown; make another over the socket");
            }
        }
        Err(error) => tracing::warn!(%error, "no API key was made; make one over the socket"),
    }
}

/// A new file that its owner alone can read. Nothing that is there is replaced, and no link followed.
struct KeyFile {
    path: PathBuf,
    file: File,
}

impl KeyFile {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Writes the key durably; removes the file when that fails.
    fn write(mut self, key: &str) -> io::Result<()> {
        let written = writeln!(self.file, "{key}")
            .and_then(|()| self.file.sync_all())
            .and_then(|()| File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all());
        if written.is_err() {
            self.remove();
        }
        written
    }

    fn remove(self) {
        // It is empty or of no use; the next start says if it is still there.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_file_is_its_owner_s_alone_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        KeyFile::create(&path).unwrap().write("ph_1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ph_1\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(KeyFile::create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ph_1\n");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        symlink(&target, &link).unwrap();
        assert!(KeyFile::create(&link).is_err());
        assert!(!target.exists());
    }
}
