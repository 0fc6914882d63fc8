//! The one thread that writes.
//!
//! It takes what has gathered in the queue, writes it in one piece, syncs once if anything in it was to be durable
//! or a lazy record has waited long enough, acknowledges, and then publishes to the readers. While it syncs, the
//! next group gathers: the slower the device, the larger the groups.

mod durable;
mod queue;
mod space;
mod writer;

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

pub use durable::Durable;
pub(super) use queue::{Answer, Queue, Request};
use queue::{Limits, Taken};
use space::Space;
use writer::{WriteError, Writer};

use super::{
    entry::{Appended, CONFIG, Draft, Entry, Location, Lsn},
    error::{AppendError, Failure},
    format,
    recovery::Recovered,
    shared::{Shared, lock},
    sidecar::Place,
    stats::add,
};

/// Requests in one group from which on those who were just answered are let come again before the next: many wait on few
/// cores, and a sync for each handful of them would cost more than it gives. Where nobody else has anything to do, nothing is
/// waited for.
const CROWD: usize = 4;

pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    writer: Writer,
    space: Space,
    /// When the oldest lazy record that is not synced must be.
    lazy_due: Option<Duration>,
    buffer: Vec<u8>,
}

/// One written group on its way to acknowledgement.
struct Group {
    entries: Vec<Entry>,
    config: Vec<Place>,
    waiting: Vec<(Answer, Appended)>,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, queue: Arc<Queue>, recovered: &Recovered) -> Self {
        let active = &recovered.active;
        let writer = Writer {
            shared: shared.clone(),
            file: recovered.file.clone(),
            header: active.header,
            end: active.end,
            next: recovered.last + 1,
            dirty: false,
            overdue: false,
        };
        Self {
            shared,
            queue,
            writer,
            space: Space::default(),
            lazy_due: None,
            buffer: Vec::new(),
        }
    }

    /// Runs until the queue is closed and empty, or the journal has failed.
    pub fn run(mut self) {
        // Also when this thread panics, those who wait are answered and the journal takes nothing more.
        let _guard = Guard {
            shared: self.shared.clone(),
            queue: self.queue.clone(),
        };
        let options = &self.shared.options;
        let limits = Limits {
            bytes: options.group_bytes,
            records: options.group_records,
        };
        let mut requests = Vec::new();
        loop {
            let taken = self.queue.take(&mut requests, limits, self.patience());
            let crowd = requests.len() >= CROWD;
            self.shared.set_busy(true);
            let result = match taken {
                Taken::Some => self.commit(&mut requests),
                Taken::Nothing => Ok(()),
                Taken::Closed => break,
            };
            let result = result.and_then(|()| self.sync_if_due());
            self.shared.set_busy(false);
            if let Err(failure) = result {
                self.shared.fail(failure);
                return;
            }
            if crowd {
                std::thread::yield_now();
            }
        }
        if let Err(failure) = self.writer.sync() {
            self.shared.fail(failure);
        }
    }

    /// One round without waiting, for who has no thread to give: whether there was anything to write.
    #[cfg(any(test, feature = "bench-parts"))]
    pub fn step(&mut self) -> Result<bool, Failure> {
        let options = &self.shared.options;
        let limits = Limits {
            bytes: options.group_bytes,
            records: options.group_records,
        };
        let mut requests = Vec::new();
        let found = match self.queue.take(&mut requests, limits, Some(Duration::ZERO)) {
            Taken::Some => {
                self.commit(&mut requests)?;
                true
            }
            Taken::Nothing => false,
            Taken::Closed => {
                self.writer.sync()?;
                false
            }
        };
        self.sync_if_due()?;
        Ok(found)
    }

    /// How long until what was written lazily is to be synced; `None` when nothing waits for that.
    #[cfg(test)]
    pub fn sync_due(&self) -> Option<Duration> {
        self.patience()
    }

    fn patience(&self) -> Option<Duration> {
        self.lazy_due
            .map(|due| due.saturating_sub(self.shared.disk.elapsed()))
    }

    fn sync_if_due(&mut self) -> Result<(), Failure> {
        if self.patience().is_some_and(|patience| patience.is_zero()) {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.lazy_due = None;
        self.writer.sync()
    }

    /// Writes, syncs, acknowledges and publishes one group. On a failure, dropping the requests answers them.
    fn commit(&mut self, requests: &mut Vec<Request>) -> Result<(), Failure> {
        self.refuse_without_space(requests);
        let bytes: usize = requests.iter().map(|request| request.bytes).sum();
        let sync = requests.iter().any(|request| request.answer.is_durable());
        let group = match self.write(requests, bytes) {
            Ok(group) => group,
            Err(WriteError::Full) => return self.refuse_on_full_disk(requests, bytes),
            Err(WriteError::Short) => {
                let refused = requests.drain(..);
                refused.for_each(|request| request.answer.refuse(AppendError::Short));
                return Ok(());
            }
            Err(WriteError::Broken(failure)) => {
                requests
                    .drain(..)
                    .for_each(|request| request.answer.refuse(AppendError::Poisoned));
                return Err(failure);
            }
        };
        self.space.wrote(bytes);
        self.count(group.entries.len(), bytes);
        self.acknowledge(group, sync)
    }

    /// Below the reserve only lazy records are let through: they are what keeps deliveries going.
    fn refuse_without_space(&mut self, requests: &mut Vec<Request>) {
        let min_free = self.shared.options.min_free_bytes;
        if min_free == 0 {
            return;
        }
        let free = self.space.free(&self.shared);
        let mut left = free.saturating_sub(min_free);
        let refused = requests.extract_if(.., |request| {
            let bytes = request.bytes as u64;
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            !request.answer.uses_reserve() && !fits
        });
        for request in refused.collect::<Vec<_>>() {
            let needed = min_free.saturating_add(request.bytes as u64);
            self.refuse(request, AppendError::Full { free, needed });
        }
    }

    /// What was to be durable is refused; small lazy records may still fit, and get one more try without it.
    fn refuse_on_full_disk(&mut self, requests: &mut Vec<Request>, bytes: usize) -> Result<(), Failure> {
        let free = self.shared.disk.free(&self.shared.options.dir).unwrap_or(0);
        let error = AppendError::Full {
            free,
            needed: bytes as u64,
        };
        let mixed = requests.iter().any(|request| request.answer.is_durable());
        let refused = requests.extract_if(.., |request| request.answer.is_durable() || !mixed);
        refused
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|request| self.refuse(request, error));
        if requests.is_empty() {
            Ok(())
        } else {
            self.commit(requests)
        }
    }

    fn refuse(&self, request: Request, error: AppendError) {
        add(&self.shared.counters.refused_full, 1);
        request.answer.refuse(error);
    }

    fn write(&mut self, requests: &mut Vec<Request>, bytes: usize) -> Result<Group, WriteError> {
        self.writer.make_room(bytes)?;
        self.encode(requests);
        self.writer.write(&self.buffer)?;
        Ok(self.group(requests))
    }

    fn encode(&mut self, requests: &[Request]) {
        self.buffer.clear();
        let drafts = requests.iter().flat_map(|request| &request.drafts);
        let mut follows = self.writer.follows();
        for (draft, lsn) in drafts.zip(self.writer.next..) {
            format::encode_record(&mut self.buffer, &self.writer.header, lsn, draft, follows);
            follows = self.writer.followed();
        }
        // One huge append must not be remembered in memory for good.
        self.buffer
            .shrink_to(self.shared.options.group_bytes.max(self.buffer.len()));
    }

    /// Names what was just written, and moves on past it.
    fn group(&mut self, requests: &mut Vec<Request>) -> Group {
        let records = requests.iter().map(|request| request.drafts.len()).sum();
        let waiting = Vec::with_capacity(requests.len());
        let mut group = Group {
            entries: Vec::with_capacity(records),
            config: Vec::new(),
            waiting,
        };
        let mut offset = self.writer.end - self.buffer.len() as u64;
        for request in requests.drain(..) {
            let first = self.writer.next;
            let mut locations = Vec::with_capacity(request.drafts.len());
            for draft in request.drafts {
                let len = format::encoded_len(&draft) as u32;
                let location = Location {
                    segment: self.writer.header.first,
                    offset,
                    len,
                };
                if draft.flags & CONFIG != 0 {
                    group.config.push(Place { offset, len });
                }
                let lsn = self.writer.next;
                let Draft {
                    kind,
                    version,
                    flags,
                    body,
                } = draft;
                group.entries.push(Entry {
                    lsn,
                    kind,
                    version,
                    flags,
                    body,
                    location,
                });
                locations.push(location);
                offset += u64::from(len);
                self.writer.next += 1;
            }
            group
                .waiting
                .push((request.answer, Appended { first, locations }));
            drop(request.room);
        }
        group
    }

    fn acknowledge(&mut self, group: Group, sync: bool) -> Result<(), Failure> {
        let last = self.writer.next - 1;
        self.shared.last.store(last, std::sync::atomic::Ordering::Release);
        let (mut durable, mut urgent) = (Vec::with_capacity(group.waiting.len()), Vec::new());
        for (answer, appended) in group.waiting {
            match answer {
                Answer::Lazy(answer) => drop(answer.send(Ok(appended))),
                answer @ (Answer::Durable(_) | Answer::Urgent(_)) => durable.push((answer, appended)),
            }
        }
        if sync {
            if let Err(failure) = self.sync() {
                durable
                    .into_iter()
                    .for_each(|(answer, _)| answer.refuse(AppendError::Poisoned));
                return Err(failure);
            }
            for (answer, appended) in durable {
                match answer {
                    Answer::Durable(answer) => drop(answer.send(Ok(Durable::new(appended)))),
                    Answer::Lazy(answer) => drop(answer.send(Ok(appended))),
                    // Whoever holds a pause reads on right away.
                    Answer::Urgent(answer) => urgent.push((answer, appended)),
                }
            }
        } else if self.lazy_due.is_none() {
            self.lazy_due = Some(self.shared.disk.elapsed() + self.shared.options.lazy_sync);
        }
        self.publish(group.entries, group.config, last);
        for (answer, appended) in urgent {
            drop(answer.send(Ok(appended)));
        }
        Ok(())
    }

    fn publish(&mut self, entries: Vec<Entry>, config: Vec<Place>, last: Lsn) {
        if entries.is_empty() {
            return;
        }
        let mut catalogue = lock(&self.shared.catalogue);
        if let Some(segment) = catalogue.segments.get_mut(&self.writer.header.first) {
            segment.end = self.writer.end;
            segment.last = Some(last);
            segment.records += entries.len() as u64;
        }
        catalogue.config.extend(config);
        catalogue.tail.push(entries);
        catalogue.published = last;
        self.shared.published.notify_all();
    }

    fn count(&self, records: usize, bytes: usize) {
        if records == 0 {
            return;
        }
        let counters = &self.shared.counters;
        add(&counters.groups, 1);
        add(&counters.records, records as u64);
        add(&counters.bytes, bytes as u64);
        counters.group_records_max.fetch_max(records as u64, Relaxed);
    }
}

/// Ends the journal for everyone when the committer ends, however it ends.
struct Guard {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = self.shared.options.dir.clone();
            let source = std::io::Error::other("the committer panicked");
            self.shared.fail(Failure {
                action: "go on writing the journal in",
                path,
                source,
            });
        }
        self.queue.close();
        self.queue.end(if self.shared.has_failed() {
            AppendError::Poisoned
        } else {
            AppendError::Closed
        });
        lock(&self.shared.catalogue).closed = true;
        self.shared.published.notify_all();
    }
}
