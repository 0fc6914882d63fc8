//! `posthaste backup`: a copy of a running server's data, in a directory that each run brings up to date.
//!
//! # The directory
//!
//! | file | holds |
//! |---|---|
//! | `manifest` | what the backup is made of, as JSON on one line, and a line with the CRC32C of that one |
//! | `journal/LSN.seg` | segments, as the server has them |
//! | `key` | the sealing key, mode 0600, unless it was left out |
//! | `unfinished` | the like of a manifest while a first backup of a long journal has come some way |
//! | `lock` | locked while a backup is written |
//!
//! # What it guarantees
//!
//! The manifest is replaced last, whole and durably, when all that it names is on the device. Until then the one before
//! it is valid: nothing that it names is overwritten or deleted. The newest segment's copy grows behind the end that the
//! manifest gives, and what is there beyond any manifest does not count. A backup that was broken off costs only its time.
//!
//! # What it does not
//!
//! It does not look at copies of earlier runs again; `--verify` does, and so does `restore`.

pub mod folder;
mod receive;
pub mod verify;

use std::path::PathBuf;

use serde_json::{json, value::to_raw_value};

use self::{folder::Folder, receive::Receiver};
use super::{
    ConnectArgs, Output,
    client::{Client, ClientError, Path},
    output::note,
};
use crate::domain::backup::{Manifest, Request};

/// Copy a running server's data into a directory
///
/// The first run copies everything, later ones what is new. What was acknowledged before it began is in it. The
/// directory then holds secrets: the sealing key and the payloads of events.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Leave the sealing key out: to be restored, it has to be kept elsewhere
    #[arg(long)]
    without_key: bool,
    /// Read the whole backup that is there, and compare it with its manifest; no server is asked
    #[arg(long, conflicts_with = "without_key")]
    verify: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let output = Output::new(args.connect.output);
    if args.verify {
        let manifest = folder::manifest_in(&args.directory)?;
        verify::whole(&args.directory, &manifest)?;
        return show(output, &args, &manifest, None);
    }
    let client = Client::new(&args.connect)?;
    let mut folder = Folder::open(&args.directory)?;
    let mut copied = 0;
    loop {
        let receiver = ask(&client, &args, &mut folder).await?;
        copied += receiver.copied();
        let received = receiver.finish()?;
        if received.complete {
            let manifest = folder.publish(received)?;
            return show(output, &args, &manifest, Some(copied));
        }
        folder.keep_unfinished(received)?;
        note(&format!("{copied} bytes are copied, and more are to come"));
    }
}

/// One request, and all of its answer.
async fn ask(client: &Client, args: &Args, folder: &mut Folder) -> anyhow::Result<Receiver> {
    loop {
        let request = Request {
            key: !args.without_key,
            journal: folder.journal(),
            held: folder.held(),
        };
        let mut receiver = Receiver::new(folder.writer()?);
        let path = Path::new(&["backup"]);
        let done = client
            .download(&path, serde_json::to_vec(&request)?, |bytes| receiver.take(bytes))
            .await;
        match done {
            Ok(()) => return Ok(receiver),
            // It was another server's, or one's that has gone back since; the backup proper may yet be this one's.
            Err(error) if is_refused(&error) && folder.forget_unfinished()? => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_refused(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<ClientError>();
    matches!(refused, Some(ClientError::Refused(refusal)) if refusal.status() == http::StatusCode::CONFLICT)
}

fn show(output: Output, args: &Args, manifest: &Manifest, copied: Option<u64>) -> anyhow::Result<()> {
    let about = &manifest.about;
    let mut document = json!({
        "directory": args.directory.display().to_string(),
        "journal": about.journal,
        "created_at": about.created_at,
        "through_lsn": about.through_lsn,
        "segments": manifest.segments.len(),
        "bytes": manifest.bytes(),
        "key": if manifest.key { "included" } else { "left out" },
    });
    match copied {
        Some(copied) => document["copied_bytes"] = copied.into(),
        None => document["verified"] = true.into(),
    }
    output.one(&to_raw_value(&document)?)?;
    if !manifest.key && !output.is_json() {
        note(
            "the sealing key is not in it: without a copy of the server's key file the endpoints' secrets, headers and \
             credentials cannot be read again",
        );
    }
    Ok(())
}
