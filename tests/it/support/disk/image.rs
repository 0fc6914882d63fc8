//! The files and directories of a disk, without anything that has to do with a mount.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use fastrand::Rng;
use fuser::Errno;

use super::{
    content::Content,
    cut::Cut,
    names::{Ino, Names},
};

pub const ROOT: Ino = 1;

#[derive(Clone, Debug)]
pub enum Body {
    File(Content),
    Folder(Names),
}

#[derive(Clone, Debug)]
pub struct Inode {
    pub body: Body,
    pub mode: u16,
    pub modified: SystemTime,
    /// Where it is to be found, as far as it has a name.
    place: Option<(Ino, OsString)>,
}

/// Everything on a disk. Modes and times are on the device at once; bytes and names when they are synced.
#[derive(Clone, Debug)]
pub struct Image {
    inodes: HashMap<Ino, Inode>,
    next: Ino,
}

impl Default for Image {
    /// An empty disk.
    fn default() -> Self {
        let mut image = Self {
            inodes: HashMap::new(),
            next: ROOT,
        };
        image.add(Body::Folder(Names::default()), 0o755, None);
        image
    }
}

type Answer<T> = Result<T, Errno>;

impl Image {
    pub fn inode(&self, ino: Ino) -> Answer<&Inode> {
        self.inodes.get(&ino).ok_or(Errno::ENOENT)
    }

    pub fn inode_mut(&mut self, ino: Ino) -> Answer<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    pub fn file(&self, ino: Ino) -> Answer<&Content> {
        match &self.inode(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Errno::EISDIR),
        }
    }

    /// To be written.
    pub fn file_mut(&mut self, ino: Ino) -> Answer<&mut Content> {
        let inode = self.inode_mut(ino)?;
        inode.modified = SystemTime::now();
        match &mut inode.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub fn folder(&self, ino: Ino) -> Answer<&Names> {
        match &self.inode(ino)?.body {
            Body::Folder(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn folder_mut(&mut self, ino: Ino) -> Answer<&mut Names> {
        let inode = self.inode_mut(ino)?;
        inode.modified = SystemTime::now();
        match &mut inode.body {
            Body::Folder(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Answer<Ino> {
        self.folder(parent)?.get(name).ok_or(Errno::ENOENT)
    }

    /// From the root, without a slash at the beginning; what has no name any more is `(removed)`.
    pub fn path(&self, ino: Ino) -> String {
        let place = self.inode(ino).ok().and_then(|inode| inode.place.clone());
        match place {
            None if ino == ROOT => String::new(),
            None => "(removed)".to_owned(),
            Some((parent, name)) => self.path_in(parent, &name),
        }
    }

    pub fn path_in(&self, parent: Ino, name: &OsStr) -> String {
        let name = name.to_string_lossy();
        match self.path(parent) {
            folder if folder.is_empty() => name.into_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    pub fn create(&mut self, parent: Ino, name: &OsStr, body: Body, mode: u16) -> Answer<Ino> {
        if self.folder(parent)?.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let ino = self.add(body, mode, Some((parent, name.to_owned())));
        self.folder_mut(parent)?.put(name, ino);
        Ok(ino)
    }

    /// Removes a file, or an empty directory.
    pub fn remove(&mut self, parent: Ino, name: &OsStr, folder: bool) -> Answer<()> {
        let ino = self.lookup(parent, name)?;
        match &self.inode(ino)?.body {
            Body::Folder(_) if !folder => return Err(Errno::EISDIR),
            Body::File(_) if folder => return Err(Errno::ENOTDIR),
            Body::Folder(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Body::Folder(_) | Body::File(_) => {}
        }
        self.folder_mut(parent)?.remove(name);
        self.inode_mut(ino)?.place = None;
        Ok(())
    }

    /// Within a directory it is one change, between two it is one in each.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> Answer<()> {
        let ino = self.lookup(from.0, from.1)?;
        if let Ok(replaced) = self.lookup(to.0, to.1) {
            if replaced == ino {
                return Ok(());
            }
            match (&self.inode(ino)?.body, &self.inode(replaced)?.body) {
                (Body::File(_), Body::Folder(_)) => return Err(Errno::EISDIR),
                (Body::Folder(_), Body::File(_)) => return Err(Errno::ENOTDIR),
                (_, Body::Folder(names)) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => self.inode_mut(replaced)?.place = None,
            }
        }
        if from.0 == to.0 {
            self.folder_mut(from.0)?.rename(from.1, to.1);
        } else {
            self.folder_mut(to.0)?.put(to.1, ino);
            self.folder_mut(from.0)?.remove(from.1);
        }
        self.inode_mut(ino)?.place = Some((to.0, to.1.to_owned()));
        Ok(())
    }

    /// Bytes in files that have a name.
    pub fn used(&self) -> u64 {
        let named = self.inodes.values().filter(|inode| inode.place.is_some());
        named
            .map(|inode| match &inode.body {
                Body::File(content) => content.len() as u64,
                Body::Folder(_) => 0,
            })
            .sum()
    }

    /// The paths of all that is not wholly on the device, in order.
    pub fn unsynced(&self) -> Vec<String> {
        let dirty = self.inodes.iter().filter(|(_, inode)| match &inode.body {
            Body::File(content) => inode.place.is_some() && !content.is_synced(),
            Body::Folder(names) => !names.is_synced(),
        });
        let mut paths: Vec<_> = dirty.map(|(ino, _)| self.path(*ino)).collect();
        paths.sort();
        paths
    }

    /// The disk that is found after a cut.
    pub fn after(&self, cut: Cut, rng: &mut Rng) -> Self {
        let mut found = Self::default();
        found.copy_names(ROOT, self, ROOT, cut, rng);
        found
    }

    fn copy_names(&mut self, to: Ino, before: &Self, from: Ino, cut: Cut, rng: &mut Rng) {
        let Ok(names) = before.folder(from) else { return };
        let mut copied = BTreeMap::new();
        for (name, ino) in names.after(cut, rng) {
            let Ok(inode) = before.inode(ino) else { continue };
            let body = match &inode.body {
                Body::File(content) => Body::File(Content::synced(content.after(cut, rng))),
                Body::Folder(_) => Body::Folder(Names::default()),
            };
            let is_folder = matches!(body, Body::Folder(_));
            let copy = self.add(body, inode.mode, Some((to, name.clone())));
            if let Ok(copied) = self.inode_mut(copy) {
                copied.modified = inode.modified;
            }
            if is_folder {
                self.copy_names(copy, before, ino, cut, rng);
            }
            copied.insert(name, copy);
        }
        if let Ok(inode) = self.inode_mut(to) {
            inode.body = Body::Folder(Names::synced(copied));
        }
    }

    fn add(&mut self, body: Body, mode: u16, place: Option<(Ino, OsString)>) -> Ino {
        let ino = self.next;
        self.next += 1;
        let inode = Inode {
            body,
            mode,
            modified: SystemTime::now(),
            place,
        };
        self.inodes.insert(ino, inode);
        ino
    }
}
