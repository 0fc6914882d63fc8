//! Reading a file from front to back in large pieces.

use std::{fs::File, io, os::unix::fs::FileExt};

use bytes::Bytes;

use super::{
    limits::{READ_CHUNK, REREAD_BLOCK},
    patience::{Patience, is_device_error},
};

/// A piece of a file in memory. What is handed out shares the piece's allocation.
#[derive(Default)]
pub(super) struct Window {
    base: u64,
    bytes: Bytes,
    patience: Patience,
    /// Behind the last block that its device did not give.
    unreadable: u64,
}

impl Window {
    /// `len` bytes at `offset`; up to `limit` may be read ahead. Where the file is shorter or its device does not
    /// answer in time, the bytes are zeros, which are never a record: unreadable is one more kind of damaged.
    pub fn get(&mut self, file: &File, offset: u64, len: usize, limit: u64) -> io::Result<Bytes> {
        let end = self.base + self.bytes.len() as u64;
        if offset < self.base || offset + len as u64 > end {
            let ahead = limit.saturating_sub(offset).min(READ_CHUNK as u64) as usize;
            self.bytes = self.read_zero_filled(file, offset, ahead.max(len))?.into();
            self.base = offset;
        }
        let start = (offset - self.base) as usize;
        Ok(self.bytes.slice(start..start + len))
    }

    /// What of `offset..limit` is in memory or can be loaded at once; empty only at the limit.
    pub fn piece(&mut self, file: &File, offset: u64, limit: u64) -> io::Result<Bytes> {
        let end = self.base + self.bytes.len() as u64;
        let loaded = if (self.base..end).contains(&offset) {
            end
        } else {
            offset + READ_CHUNK as u64
        };
        let len = loaded.min(limit).saturating_sub(offset) as usize;
        self.get(file, offset, len, limit)
    }

    /// The end of the last block that its device did not give; 0 when it gave everything.
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn read_zero_filled(&mut self, file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.patience.ask(|| fill(file, &mut bytes, offset)) {
            Err(error) if is_device_error(&error) => {
                for (index, block) in bytes.chunks_mut(REREAD_BLOCK).enumerate() {
                    self.fill_if_readable(file, block, offset + (index * REREAD_BLOCK) as u64)?;
                }
            }
            result => result?,
        }
        Ok(bytes)
    }

    fn fill_if_readable(&mut self, file: &File, block: &mut [u8], offset: u64) -> io::Result<()> {
        match fill(file, block, offset) {
            Err(error) if is_device_error(&error) => {
                block.fill(0);
                self.unreadable = self.unreadable.max(offset + block.len() as u64);
                Ok(())
            }
            result => result,
        }
    }
}

fn fill(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
