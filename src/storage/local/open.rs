//! Opening the journal and the index of a data folder.

use std::{sync::Arc, thread, time::Duration};

use tokio_util::task::TaskTracker;

use super::{
    LocalStorage, Readers,
    accept::Accepting,
    applier::Applier,
    backup::Taking,
    claims::Claims,
    damage::{DamagedAttempts, DamagedEvents},
    described::Described,
    index::{
        Store, StoreError, TableOptions,
        open::{self, Distrust, Trust},
    },
    journal::{self, Journal, Recovery},
    reclaim::{self, Retention},
    rewriter::Rewriter,
    served::ServedIndex,
    unreadable::ReadTrouble,
};
use crate::{
    domain::time::Timestamp,
    runtime::{
        chain::chain,
        folder::{Folder, FolderError},
        space,
    },
    storage::{Change, Host},
};

/// How local storage is to work.
#[derive(Clone)]
pub struct LocalOptions {
    pub journal: journal::Options,
    pub index: TableOptions,
    /// A smaller index is never written afresh, in bytes.
    pub index_rewrite_bytes: u64,
    /// How long things are kept, and how much of them.
    pub retention: Retention,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// Who looks up single things in the index.
    pub readers: Arc<Readers>,
    /// Those that read for lists.
    pub list_readers: Arc<Readers>,
    /// Those that read for the scheduler.
    pub schedule_readers: Arc<Readers>,
}

/// Indexes up to this size are read and compared whole at every start: well under a second.
const CHECK_BYTES: u64 = 8 * 1024 * 1024;

/// Tries at an index that cannot be opened at the moment, and the pause between them: ten seconds in all. After that
/// whoever started the server is told.
const OPEN_TRIES: u32 = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(250);

/// Why storage does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot open the journal")]
    Journal(#[from] journal::OpenError),
    #[error("cannot read the journal")]
    Read(#[from] journal::ReadError),
    #[error("cannot open the store")]
    OpenStore(#[from] open::OpenError),
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    #[error("cannot begin the store where the journal begins")]
    Begin(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Storage that is open, and does not follow its journal yet.
pub struct Opening {
    pub storage: Arc<LocalStorage>,
    pub opened: Opened,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// The newest time that the index records.
    pub newest: Timestamp,
}

/// The index, and how it was opened.
pub struct Opened {
    pub store: Store,
    pub options: open::Options,
    pub(super) rewriter: Rewriter,
}

impl Opening {
    /// Opens the journal and the index in an owned folder.
    ///
    /// # Errors
    /// When something cannot be opened that is not simply damaged; damage is set aside and reported.
    pub fn open(folder: &Folder, options: LocalOptions) -> Result<Self, OpenError> {
        let opened = Journal::open(journal::Options {
            power_was_cut: !folder.unsynced_files_hold(),
            crashed: folder.crashed(),
            ..options.journal.clone()
        })?;
        Self::over(folder, opened, options)
    }

    /// The same over an open journal.
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn over(
        folder: &Folder,
        (journal, recovery): (Journal, Recovery),
        options: LocalOptions,
    ) -> Result<Self, OpenError> {
        report(&recovery);
        // Without a segment the journal cannot make the store again.
        let is_lost = recovery.created || recovery.emptied;
        let kept = is_lost
            .then(|| open::keep_last_copy(folder.path()))
            .transpose()?
            .flatten();
        let discarded = !folder.unsynced_files_hold() && open::discard(folder.path())?;
        folder.begin()?;
        // What the disk does not give today is not gone: it is neither reclaimed nor is the store without it to go.
        let segments_unread = !recovery.unread.is_empty();
        let table = open::Options {
            data: folder.path().to_owned(),
            table: options.index,
            journal: journal.uuid(),
            last_lsn: recovery.last_lsn,
            first_lsn: if segments_unread { 1 } else { journal.first_lsn() },
            trust: Trust::Yes,
            check_bytes: CHECK_BYTES,
        };
        let opened = open_patiently(&table)?;
        if segments_unread {
            open::mark_incomplete(&table.data);
        }
        let distrusted = opened.distrusted.or(discarded.then_some(Distrust::Reboot));
        if let Some(distrust) = &distrusted {
            tracing::warn!(reason = %chain(distrust), "the store is being rebuilt from the journal");
        }
        let mut warnings = damage(&recovery);
        if let Some(kept) = kept {
            let text = format!(
                "all segments of the journal are gone; the store, the last copy of what it says of their events, is kept as \
                 {}: restore a backup, or put the segments back",
                kept.display()
            );
            tracing::error!("{text}");
            warnings.push(text);
        }
        if let Some(Distrust::Ahead { applied, last }) = &distrusted {
            warnings.push(format!(
                "journal damaged: it ends with record {last}, but records up to {applied} had been written: they are gone"
            ));
        }
        let store = opened.store;
        if !segments_unread {
            reclaim::begin(&journal, &store).map_err(|error| OpenError::Begin(Box::new(error)))?;
        }
        let served = ServedIndex::default();
        served.begin(store.clone(), store.applied()?.lsn, distrusted.is_some());
        let newest = store.newest()?;
        let rewriter = Rewriter::new(table.data.clone(), table.table, options.index_rewrite_bytes);
        let (served, claims) = (Arc::new(served), Arc::new(Claims::default()));
        let accepting = Accepting {
            journal: journal.clone(),
            served: served.clone(),
            claims: claims.clone(),
            readers: options.readers.clone(),
        };
        let storage = Arc::new_cyclic(|me| LocalStorage {
            journal,
            served,
            readers: options.readers,
            list_readers: options.list_readers,
            schedule_readers: options.schedule_readers,
            claims,
            accepting,
            writing: TaskTracker::new(),
            me: me.clone(),
            segments_unread,
            found_damaged: (recovery.quarantined.len() + recovery.missing.len()) as u64,
            damaged_events: DamagedEvents::default(),
            described: Described::default(),
            damaged_attempts: DamagedAttempts::default(),
            unreadable: ReadTrouble::default(),
            taking: Taking::of(folder),
            retention: options.retention,
            idempotency_window: options.idempotency_window,
        });
        Ok(Self {
            storage,
            opened: Opened {
                store,
                options: table,
                rewriter,
            },
            warnings,
            newest,
        })
    }

    /// Tells the host of the configuration, and answers what is to follow the journal on a thread of its own.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn begin(self, host: Arc<dyn Host>) -> Result<Applier, OpenError> {
        let Self { storage, opened, .. } = self;
        let configuration = if storage.served.applied() < storage.journal.last_lsn() {
            storage.configuration_in_journal()?
        } else {
            storage.configuration_in(&opened.store)?
        };
        host.changed(Change::Configured(configuration));
        Ok(Applier::new(storage, host, opened))
    }
}

/// Opens the index. What is short at the moment is waited for, for a while; the index is kept as it is meanwhile, and
/// also when that does not help.
fn open_patiently(options: &open::Options) -> Result<open::Opened, open::OpenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match open::open(options) {
            Err(error) if error.lacks_space() && space::release(&options.data) => {}
            Err(error) if error.is_temporary() && tries < OPEN_TRIES => {
                if tries == 1 {
                    tracing::warn!(error = %chain(&error), "trying again");
                }
                thread::sleep(OPEN_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Says what opening the journal found; damage louder than the rest.
fn report(recovery: &Recovery) {
    for (line, place) in recovery.lines().into_iter().zip(0..) {
        if place > 0 && recovery.is_damaged() {
            tracing::warn!("{line}");
        } else {
            tracing::info!("{line}");
        }
    }
}

/// What a person should look at; the first line only says what was opened.
fn damage(recovery: &Recovery) -> Vec<String> {
    if recovery.is_damaged() {
        recovery.lines().split_off(1)
    } else {
        Vec::new()
    }
}
