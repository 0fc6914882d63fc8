//! What a damaged range still shows of the records that stood in it. Nothing of it is proved: it is for naming what
//! was lost, never for serving it.

use std::{fs::File, io, os::unix::fs::FileExt};

use bytes::Bytes;

use super::{
    entry::{Lsn, LsnRange},
    format::{RECORD_HEADER, SegmentHeader, u32_at, u64_at},
    limits::{FRAGMENT_BODY, FRAGMENT_BYTES, FRAGMENTS, MAX_LSN},
    scan::{BadRange, find},
};

/// What seems to have been a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where it begins, in bytes from the start of the segment's file.
    pub offset: u64,
    /// `None`: its header does not say a sequence number that can have stood there.
    pub lsn: Option<Lsn>,
    pub kind: u8,
    pub version: u8,
    /// What stands where its body stood: at most [`FRAGMENT_BODY`] bytes, of which any may be wrong.
    pub body: Bytes,
}

/// Looks through a damaged range of a segment's file; at most [`FRAGMENT_BYTES`] of it, for at most [`FRAGMENTS`].
pub(super) fn read(file: &File, header: &SegmentHeader, bad: &BadRange) -> io::Result<Vec<Fragment>> {
    let bytes = load(file, bad)?;
    let mut found: Vec<Fragment> = Vec::new();
    // What is damaged first is the record that begins where the range does, be its marker whole or not.
    let (mut at, mut begins) = (0, true);
    while bytes.len() - at >= RECORD_HEADER && found.len() < FRAGMENTS {
        let Some(step) = (if begins {
            Some(0)
        } else {
            find(&bytes[at..], header.marker())
        }) else {
            break;
        };
        begins = false;
        at += step;
        found.extend(fragment(&bytes, at, bad));
        at += 1;
    }
    Ok(found)
}

fn load(file: &File, bad: &BadRange) -> io::Result<Bytes> {
    let mut bytes = vec![0; bad.bytes.min(FRAGMENT_BYTES as u64) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], bad.offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

fn fragment(bytes: &Bytes, at: usize, bad: &BadRange) -> Option<Fragment> {
    let head = bytes.get(at..at + RECORD_HEADER)?;
    let body = at + RECORD_HEADER;
    let len = (u32_at(head, 16) as usize)
        .min(FRAGMENT_BODY)
        .min(bytes.len() - body);
    Some(Fragment {
        offset: bad.offset + at as u64,
        lsn: possible(u64_at(head, 8), bad),
        kind: head[20],
        version: head[21],
        body: bytes.slice(body..body + len),
    })
}

/// The sequence number, if it can have stood there. A range that held a single record leaves no choice.
fn possible(lsn: Lsn, bad: &BadRange) -> Option<Lsn> {
    match bad.missing {
        Some(LsnRange { first, last }) if first == last => Some(first),
        Some(LsnRange { first, last }) => (first..=last).contains(&lsn).then_some(lsn),
        None => (bad.segment..=MAX_LSN).contains(&lsn).then_some(lsn),
    }
}
