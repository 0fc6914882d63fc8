//! Whether a backup is what its manifest says.

use std::{
    io::{self, Read},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::folder::{KEY, at, journal, name, open_file, read_text};
use crate::{
    cli::{Failed, limits::CHUNK_BYTES},
    domain::backup::{Manifest, Segment},
    runtime::folder as data_folder,
};

/// Reads every file of the backup in a directory.
///
/// # Errors
///
/// The first file that is missing, short or damaged, by its name.
pub fn whole(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for segment in &manifest.segments {
        copy(folder, segment, &mut io::sink())?;
    }
    if !manifest.key {
        return Ok(());
    }
    let key = folder.join(KEY);
    if !key.exists() {
        bail!(Failed(format!("{} is missing", key.display())));
    }
    let text = read_text(&key, data_folder::KEY_FILE)?;
    Ok(data_folder::prove_key(&manifest.about.format, &text, &key)?)
}

/// Writes a segment of the backup in a directory to `to`.
///
/// # Errors
///
/// When its file is missing, short or damaged, or `to` takes no more.
pub fn copy(folder: &Path, segment: &Segment, to: &mut impl io::Write) -> anyhow::Result<()> {
    let path = journal(folder).join(name(segment.first));
    if !path.exists() {
        bail!(Failed(format!(
            "the backup is damaged: {} is missing",
            path.display()
        )));
    }
    let file = open_file(&path)?;
    let mut rest = file.take(segment.bytes);
    let mut piece = vec![0; CHUNK_BYTES];
    let (mut read, mut crc) = (0, 0);
    loop {
        let len = rest.read(&mut piece).with_context(|| at("read", &path))?;
        if len == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &piece[..len]);
        read += len as u64;
        to.write_all(&piece[..len])
            .context("cannot write the copy of a segment")?;
    }
    if read < segment.bytes {
        bail!(Failed(format!(
            "the backup is damaged: {} has {read} bytes, and its manifest says {}",
            path.display(),
            segment.bytes
        )));
    }
    if crc != segment.crc32c {
        bail!(Failed(format!(
            "the backup is damaged: the checksum of {} is not that of its manifest",
            path.display()
        )));
    }
    Ok(())
}
