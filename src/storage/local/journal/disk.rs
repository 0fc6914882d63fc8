//! The few calls whose failure decides what is acknowledged, behind a trait so that tests can make them fail.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// What the journal asks of the machine. Production has [`RealDisk`]; nothing else is ever passed outside of tests.
pub(super) trait Disk: Send + Sync + 'static {
    /// Writes some of `bytes` at `offset` and says how many.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// `fdatasync`: the content and the length are on the device.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// The names in a directory are on the device.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Deletes a name.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// `syncfs`: everything that was written to the directory's file system is on its device.
    fn sync_file_system(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&File::open(dir)?)?)
    }

    /// Bytes that this process may still write.
    fn free(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Monotonic time since some fixed instant.
    fn elapsed(&self) -> Duration;
}

/// The file system and the monotonic clock.
pub(super) struct RealDisk {
    started: Instant,
}

impl RealDisk {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the journal takes its monotonic clock"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Disk for RealDisk {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the journal takes its monotonic clock"
    )]
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Writes all of `bytes` at `offset`, however short the single writes are.
pub(super) fn write_all(disk: &dyn Disk, file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error says that there is no space, which passes, rather than that the device is broken.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Fills an array from the operating system's generator.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| io::Error::other("the operating system gave no random bytes"))?;
    Ok(bytes)
}
