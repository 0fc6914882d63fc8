//! The disk's side of FUSE: what the kernel asks, and the gate that every operation passes.

use std::{
    ffi::{OsStr, OsString},
    sync::{Arc, MutexGuard},
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{
    ENDLESS, Shared, State,
    content::{Content, SECTOR},
    fault::{Effect, Op},
    image::{Body, Image, Inode, ROOT},
    names::{Ino, Names},
};

/// The kernel is to believe nothing that it has been told before.
const FORGET: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
const HANDLE: FileHandle = FileHandle(0);
/// Past the page cache. Nothing is asked when a file is closed: a test that is killed closes its own files after the
/// thread that would have answered has ended, and would never end itself.
const OPENED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_NOFLUSH);

pub struct Server(pub Arc<Shared>);

/// What is in a directory.
pub type Listing = Vec<(Ino, FileType, OsString)>;

type Answer<T> = Result<T, Errno>;

/// Whether a sync is done, or to be done when the disk is told to.
enum Synced<'a> {
    Now,
    Later(MutexGuard<'a, State>),
}

/// A sync that waits for its answer.
pub struct Hanging {
    ino: Ino,
    reply: ReplyEmpty,
}

impl Hanging {
    pub fn end(self, image: &mut Image) {
        match image.file_mut(self.ino) {
            Ok(content) => {
                content.sync();
                self.reply.ok();
            }
            Err(error) => self.reply.error(error),
        }
    }

    pub fn give_up(self) {
        self.reply.error(Errno::EIO);
    }
}

impl Server {
    /// The gate: waits while the disk is frozen, and does what has been told to go wrong. Answers the state and what
    /// is to be done instead.
    fn enter(
        &self,
        op: Op,
        path: impl Fn(&State) -> String,
    ) -> Answer<(MutexGuard<'_, State>, Option<Effect>)> {
        let mut state = self.awake()?;
        let path = path(&state);
        let mut effect = state.faults.befalling(op, &path);
        if effect.is_none() && op.is_change() && state.read_only {
            effect = Some(Effect::Fail(Errno::EROFS));
        }
        if op.is_change() || effect.is_some() {
            state.note(op, &path, effect);
        }
        match effect {
            Some(Effect::Fail(error)) => return Err(error),
            Some(Effect::Freeze) => {
                state.frozen = true;
                self.0.stopped.notify_all();
                drop(state);
                drop(self.awake()?);
                return Err(Errno::EIO);
            }
            _ => {}
        }
        state.changes += u64::from(op.is_change());
        Ok((state, effect))
    }

    fn awake(&self) -> Answer<MutexGuard<'_, State>> {
        let waiting = |state: &mut State| state.frozen && !state.dead;
        let state = self.0.stopped.wait_while(self.0.lock(), waiting);
        match state {
            Ok(state) if !state.dead => Ok(state),
            _ => Err(Errno::EIO),
        }
    }

    fn entry(&self, parent: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        let state = self.awake()?;
        let ino = state.image.lookup(parent.0, name)?;
        Ok(attributes(ino, state.image.inode(ino)?))
    }

    fn make(&self, op: Op, parent: INodeNo, name: &OsStr, body: Body, mode: u32) -> Answer<FileAttr> {
        let (mut state, _) = self.enter(op, |state| state.image.path_in(parent.0, name))?;
        state.room()?;
        let ino = state.image.create(parent.0, name, body, (mode & 0o7777) as u16)?;
        Ok(attributes(ino, state.image.inode(ino)?))
    }

    fn remove(&self, op: Op, parent: INodeNo, name: &OsStr) -> Answer<()> {
        let (mut state, _) = self.enter(op, |state| state.image.path_in(parent.0, name))?;
        state.image.remove(parent.0, name, op == Op::RemoveFolder)
    }

    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> Answer<u32> {
        let (mut state, effect) = self.enter(Op::Write, |state| state.image.path(ino))?;
        let mut bytes = match effect {
            Some(Effect::Short(len)) => &bytes[..len.min(bytes.len())],
            _ => bytes,
        };
        let grown = (offset + bytes.len() as u64).saturating_sub(state.image.file(ino)?.len() as u64);
        if grown > 0 {
            let lacking = grown.saturating_sub(state.room()?) as usize;
            bytes = &bytes[..bytes.len().saturating_sub(lacking)];
        }
        state.image.file_mut(ino)?.write(offset as usize, bytes);
        Ok(bytes.len() as u32)
    }

    fn sync(&self, op: Op, ino: Ino) -> Answer<Synced<'_>> {
        let (mut state, effect) = self.enter(op, |state| state.image.path(ino))?;
        match (effect, &mut state.image.inode_mut(ino)?.body) {
            (Some(Effect::Lie), _) => {}
            (Some(Effect::Hang), _) => return Ok(Synced::Later(state)),
            (Some(Effect::Lose(error)), Body::File(content)) => {
                content.lose();
                return Err(error);
            }
            (Some(Effect::Lose(error)), Body::Folder(_)) => return Err(error),
            (_, Body::File(content)) => content.sync(),
            (_, Body::Folder(names)) => names.sync(),
        }
        Ok(Synced::Now)
    }

    fn set(
        &self,
        ino: Ino,
        mode: Option<u32>,
        size: Option<u64>,
        modified: Option<TimeOrNow>,
    ) -> Answer<FileAttr> {
        if let Some(size) = size {
            let (mut state, _) = self.enter(Op::Truncate, |state| state.image.path(ino))?;
            if size > state.image.file(ino)?.len() as u64 + state.room().unwrap_or(0) {
                state.room()?;
                return Err(Errno::EFBIG);
            }
            state.image.file_mut(ino)?.truncate(size as usize);
        }
        let mut state = self.awake()?;
        let inode = state.image.inode_mut(ino)?;
        if let Some(mode) = mode {
            inode.mode = (mode & 0o7777) as u16;
        }
        match modified {
            Some(TimeOrNow::SpecificTime(time)) => inode.modified = time,
            Some(TimeOrNow::Now) => inode.modified = SystemTime::now(),
            None => {}
        }
        Ok(attributes(ino, inode))
    }

    /// A listing must not change while it is read, or what is removed meanwhile would hide what is behind it.
    fn open_listing(&self, ino: Ino) -> Answer<FileHandle> {
        let (mut state, _) = self.enter(Op::List, |state| state.image.path(ino))?;
        let mut listing: Listing = [".", ".."]
            .map(|name| (ROOT, FileType::Directory, name.into()))
            .to_vec();
        for (name, ino) in state.image.folder(ino)?.list() {
            listing.push((ino, kind(&state.image.inode(ino)?.body), name.clone()));
        }
        let handle = state.next_listing;
        state.next_listing += 1;
        state.listings.insert(handle, listing);
        Ok(FileHandle(handle))
    }

    fn list(&self, handle: FileHandle, offset: u64, reply: &mut ReplyDirectory) -> Answer<()> {
        let state = self.awake()?;
        let listing = state.listings.get(&handle.0).ok_or(Errno::EBADF)?;
        for ((ino, kind, name), place) in listing.iter().zip(1..).skip(offset as usize) {
            if reply.add(INodeNo(*ino), place, *kind, name) {
                break;
            }
        }
        Ok(())
    }
}

fn kind(body: &Body) -> FileType {
    match body {
        Body::File(_) => FileType::RegularFile,
        Body::Folder(_) => FileType::Directory,
    }
}

fn attributes(ino: Ino, inode: &Inode) -> FileAttr {
    let size = match &inode.body {
        Body::File(content) => content.len() as u64,
        Body::Folder(_) => 0,
    };
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(SECTOR as u64),
        atime: inode.modified,
        mtime: inode.modified,
        ctime: inode.modified,
        crtime: inode.modified,
        kind: kind(&inode.body),
        perm: inode.mode,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Answers a request with what came of it.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.entry(parent, name), attributes => reply.entry(&FORGET, &attributes, Generation(0)));
    }

    /// A dead disk still says what its root is, so that it can be unmounted.
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = match self.awake() {
            Err(error) if ino.0 != ROOT => return reply.error(error),
            Err(_) => self.0.lock(),
            Ok(state) => state,
        };
        answer!(reply, state.image.inode(ino.0), inode => reply.attr(&FORGET, &attributes(ino.0, inode)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.set(ino.0, mode, size, modified);
        answer!(reply, set, attributes => reply.attr(&FORGET, &attributes));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let body = Body::Folder(Names::default());
        let made = self.make(Op::MakeFolder, parent, name, body, mode & !umask);
        answer!(reply, made, attributes => reply.entry(&FORGET, &attributes, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(Op::Remove, parent, name), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(Op::RemoveFolder, parent, name), () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (mut state, _) = self.enter(Op::Rename, |state| state.image.path_in(newparent.0, newname))?;
            if !(flags & !RenameFlags::RENAME_NOREPLACE).is_empty() {
                return Err(Errno::EINVAL);
            }
            let taken = state.image.lookup(newparent.0, newname).is_ok();
            if flags.contains(RenameFlags::RENAME_NOREPLACE) && taken {
                return Err(Errno::EEXIST);
            }
            state.image.rename((parent.0, name), (newparent.0, newname))
        };
        answer!(reply, rename(), () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self
            .enter(Op::Open, |state| state.image.path(ino.0))
            .and_then(|entered| {
                let refused = entered.0.read_only && flags.acc_mode() != OpenAccMode::O_RDONLY;
                if refused { Err(Errno::EROFS) } else { Ok(entered) }
            });
        answer!(reply, opened, _ => reply.opened(HANDLE, OPENED));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let body = Body::File(Content::default());
        let made = self.make(Op::Create, parent, name, body, mode & !umask);
        answer!(reply, made, attributes =>
            reply.created(&FORGET, &attributes, Generation(0), HANDLE, OPENED));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let entered = self.enter(Op::Read, |state| state.image.path(ino.0));
        answer!(reply, entered, (state, _) =>
            answer!(reply, state.image.file(ino.0), content =>
                reply.data(content.read(offset as usize, size as usize))));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.store(ino.0, offset, data), written => reply.written(written));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        match self.sync(Op::Sync, ino.0) {
            Ok(Synced::Now) => reply.ok(),
            Ok(Synced::Later(mut state)) => state.hanging.push(Hanging { ino: ino.0, reply }),
            Err(error) => reply.error(error),
        }
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        answer!(reply, self.sync(Op::SyncFolder, ino.0), _ => reply.ok());
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.open_listing(ino.0), handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        answer!(reply, self.list(handle, offset, &mut reply), () => reply.ok());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.lock().listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.0.lock();
        let total = state.space.map_or(ENDLESS, |(space, _)| space) / u64::from(BLOCK);
        let free = state.room().unwrap_or(0) / u64::from(BLOCK);
        let files = u64::from(u32::MAX);
        reply.statfs(total, free, free, files, files, BLOCK, 255, BLOCK);
    }
}
