//! `posthaste restore`: a data folder made out of a backup.
//!
//! It is made beside the folder's place and renamed into it when it is whole and on the device, so that there is all of
//! it or nothing. The store is not in it: the first start makes it from the journal.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{json, value::to_raw_value};

use super::{
    CheckArgs, Failed, Format, Output,
    backup::{
        folder::{self, KEY, at, create_folder, manifest_in, name, replace, sync_folder},
        verify,
    },
    output::note,
};
use crate::{
    domain::backup::Manifest,
    runtime::{
        folder::{self as data_folder, FORMAT},
        hex,
    },
    storage::local::journal::{Journal, Verification},
};

/// What a folder that is being made holds until it is whole.
const MARKER: &str = "unfinished-restore";

/// Make a data directory out of a backup
///
/// The server must not be running on it, and it must be empty or not be there. Nothing is restored from a backup that is
/// damaged.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory that `posthaste backup` has written
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The data directory (else storage.data of the configuration)
    #[arg(long, value_name = "DATA")]
    data: Option<OsString>,
    /// The sealing key's file, when it is not in the backup
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A text for people, JSON for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = CheckArgs {
        data: args.data.clone(),
        ..CheckArgs::default()
    }
    .load()?
    .config;
    let data = config.storage.data;
    let manifest = manifest_in(&args.directory)?;
    refuse_newer(&manifest)?;
    refuse_used(&data)?;
    let key = key(args, &manifest)?;
    let staging = staging(&data)?;
    let verification = fill(&args.directory, &manifest, key.as_deref(), &staging)?;
    put_in_place(&staging, &data)?;
    show(args, &manifest, &data, &verification, key.is_some())
}

/// A folder of a format that this program does not know would be refused at its first start.
fn refuse_newer(manifest: &Manifest) -> anyhow::Result<()> {
    let format = manifest
        .about
        .format
        .lines()
        .find_map(|line| line.strip_prefix("format "));
    let found: u32 = format
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Failed("the backup does not say its data folder's format".to_owned()))?;
    if found > FORMAT {
        bail!(Failed(format!(
            "the backup is of a data folder of format {found}, newer than this program's {FORMAT}; use posthaste {}, \
             which took it, or a later one",
            manifest.about.program
        )));
    }
    Ok(())
}

fn refuse_used(data: &Path) -> anyhow::Result<()> {
    let mut entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| at("list", data))?,
    };
    if entries.next().is_some() {
        bail!(Failed(format!(
            "{} is not empty; restore into another directory, or move this one away",
            data.display()
        )));
    }
    Ok(())
}

fn key(args: &Args, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let path = match &args.key_file {
        Some(path) => path.clone(),
        None if manifest.key => args.directory.join(KEY),
        None => return Ok(None),
    };
    let text = folder::read_text(&path, data_folder::KEY_FILE)?;
    data_folder::prove_key(&manifest.about.format, &text, &path)?;
    Ok(Some(text))
}

/// An empty folder beside the data folder, named after it.
fn staging(data: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = data.file_name() else {
        bail!(Failed(format!(
            "{} is no name for a data directory",
            data.display()
        )));
    };
    let mut name = name.to_owned();
    name.push(".restoring");
    let staging = data.with_file_name(name);
    if staging.exists() {
        if !is_ours(&staging)? {
            bail!(Failed(format!(
                "{} is in the way; move it away",
                staging.display()
            )));
        }
        clear(&staging).with_context(|| at("delete", &staging))?;
    }
    create_folder(&staging, 0o750)?;
    replace(&staging.join(MARKER), b"", 0o600)?;
    Ok(staging)
}

/// Whether a restore has left it. The marker is on the device before anything else is made in it.
fn is_ours(staging: &Path) -> anyhow::Result<bool> {
    let names: io::Result<Vec<_>> = fs::read_dir(staging).and_then(|entries| {
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        names.collect()
    });
    let names = names.with_context(|| at("list", staging))?;
    let is_marker = |name: &OsString| name.to_string_lossy().starts_with(MARKER);
    Ok(names.is_empty() || names.iter().any(is_marker))
}

/// The marker goes last, so that what is left of it can be told again.
fn clear(staging: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != MARKER {
            fs::remove_file(entry.path())?;
        }
    }
    File::open(staging)?.sync_all()?;
    fs::remove_dir_all(staging)
}

fn fill(from: &Path, manifest: &Manifest, key: Option<&str>, to: &Path) -> anyhow::Result<Verification> {
    let about = &manifest.about;
    let journal = folder::journal(to);
    create_folder(&journal, 0o750)?;
    for segment in &manifest.segments {
        let path = journal.join(name(segment.first));
        let open = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o640)
            .open(&path);
        let mut file = open.with_context(|| at("create", &path))?;
        verify::copy(from, segment, &mut file)?;
        file.sync_all().with_context(|| at("sync", &path))?;
    }
    let undone = || Failed("the backup's manifest holds what is no hexadecimal".to_owned());
    let bytes = |text: &str| hex::decode(text).ok_or_else(undone);
    replace(&journal.join("journal.id"), &bytes(&about.identity)?, 0o640)?;
    if let Some(floor) = &about.floor {
        replace(&journal.join("floor"), &bytes(floor)?, 0o640)?;
    }
    if let Some(key) = key {
        replace(&to.join(KEY), key.as_bytes(), 0o600)?;
    }
    replace(&to.join("format"), about.format.as_bytes(), 0o640)?;
    Journal::verify(&journal).context("cannot read the restored journal")
}

/// Until it is under its name, it may be deleted by the next try.
fn put_in_place(staging: &Path, data: &Path) -> anyhow::Result<()> {
    sync_folder(staging)?;
    if let Err(error) = fs::rename(staging, data) {
        let hint = match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                "; a directory that is mounted there cannot be replaced, name one below it"
            }
            _ => "",
        };
        return Err(error)
            .with_context(|| format!("cannot rename {} to {}{hint}", staging.display(), data.display()));
    }
    let above = data.parent().filter(|above| !above.as_os_str().is_empty());
    sync_folder(above.unwrap_or(Path::new(".")))?;
    let marker = data.join(MARKER);
    fs::remove_file(&marker).with_context(|| at("delete", &marker))?;
    sync_folder(data)
}

fn show(
    args: &Args,
    manifest: &Manifest,
    data: &Path,
    verification: &Verification,
    has_key: bool,
) -> anyhow::Result<()> {
    let about = &manifest.about;
    let output = Output::new(args.output);
    output.one(&to_raw_value(&json!({
        "data": data.display().to_string(),
        "journal": about.journal,
        "acknowledged_until": about.created_at,
        "through_lsn": about.through_lsn,
        "segments": manifest.segments.len(),
        "records": verification.records,
        "bytes": manifest.bytes(),
        "whole": verification.is_whole(),
        "key": if has_key { "included" } else { "left out" },
    }))?)?;
    if !verification.is_whole() {
        note("the journal was damaged already when it was copied; posthaste check names what cannot be read");
    }
    if !has_key {
        note(&format!(
            "put the sealing key at {} (chmod 600) before the server is started, or name it by storage.key_file",
            data.join(KEY).display()
        ));
    }
    note(&format!(
        "what was accepted until {} is there; what was delivered after that is delivered again, with the same event ids. \
         The server that the backup is of must not run on. Start this one with: posthaste serve --data {}",
        about.created_at,
        data.display()
    ));
    Ok(())
}
