//! Writes that may use the space kept in reserve: [`Deliveries`] and [`ConfigurationStore`] over the journal.

use async_trait::async_trait;

use super::{LocalStorage, codec, events::encode_failure, journal::MAX_BODY, pages};
use crate::{
    domain::{
        audit::{AuditEntry, AuditFilter},
        configuration::{ConfigChange, Configured},
        id::{AuditId, Lsn},
        record::{AttemptSettled, EventAccepted, Record},
        time::Timestamp,
    },
    storage::{AuditPage, ConfigurationStore, Deliveries, DeliveryChange, Overwritten, StorageError},
};

impl LocalStorage {
    /// Makes records durable as one group; answers the sequence of the first.
    async fn write(&self, records: &[Record]) -> Result<Lsn, StorageError> {
        let drafts = records.iter().map(codec::encode);
        let drafts = drafts.collect::<Result<Vec<_>, _>>().map_err(encode_failure)?;
        let written = self.journal.append_lazy(drafts).await?;
        // Nothing more to write: this answers when all that was written before is synced. It is written by now, whatever
        // the answer.
        let synced = self.journal.append(Vec::new()).await;
        synced.map_err(|_| StorageError::Unknown)?;
        Ok(written.first)
    }

    /// Makes records durable as one group, and waits until the index, and with it everyone, knows; answers the sequence of
    /// the first.
    async fn write_visibly(&self, records: &[Record]) -> Result<Lsn, StorageError> {
        let first = self.write(records).await?;
        self.served
            .caught_up_with(first + records.len() as u64 - 1)
            .await?;
        Ok(first)
    }
}

#[async_trait]
impl Deliveries for LocalStorage {
    async fn change_deliveries(&self, changes: Vec<DeliveryChange>) -> Result<Vec<Lsn>, StorageError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let records: Vec<Record> = changes.into_iter().map(Record::from).collect();
        let first = self.write_visibly(&records).await?;
        Ok((first..).take(records.len()).collect())
    }

    async fn erase_payload(
        &self,
        event: Lsn,
        at: Timestamp,
        by: String,
        audited: Option<Box<AuditEntry>>,
    ) -> Result<(), StorageError> {
        self.served.caught_up_with(event).await?;
        let read = move |storage: &Self| storage.erasure(event, at, by);
        let Some(erased) = self.run_on(&self.readers, read).await? else {
            return Ok(());
        };
        let audited = audited.map(DeliveryChange::Audited).map(Record::from);
        let records: Vec<Record> = audited
            .into_iter()
            .chain([Record::PayloadErased(erased)])
            .collect();
        self.write_visibly(&records).await.map(drop)
    }

    async fn overwrite_payload(&self, event: Lsn) -> Result<Overwritten, StorageError> {
        self.run_on(&self.readers, move |storage| storage.overwrite(event))
            .await
    }

    async fn record_standalone_attempt(&self, attempt: AttemptSettled) -> Result<Lsn, StorageError> {
        self.write_visibly(&[Record::AttemptSettled(attempt)]).await
    }

    async fn accept_notice(&self, notice: EventAccepted) -> Result<(), StorageError> {
        self.write(&[Record::EventAccepted(notice)]).await.map(drop)
    }
}

#[async_trait]
impl ConfigurationStore for LocalStorage {
    async fn save_configuration(&self, changes: Vec<ConfigChange>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.served.get()?;
        let record = Record::Configured(Configured { changes });
        // What the codec refuses is larger still than what the journal refuses.
        let draft = codec::encode(&record).map_err(|_| StorageError::TooLarge { limit: MAX_BODY })?;
        let written = self.journal.append_lazy(vec![draft]).await?;
        let synced = self.journal.append(Vec::new()).await;
        synced.map_err(|_| StorageError::Unknown)?;
        let seen = self.served.caught_up_with(written.first).await;
        seen.map(drop).map_err(|_| StorageError::NotVisible)
    }

    async fn audit_entries(
        &self,
        filter: AuditFilter,
        beyond: Option<AuditId>,
        ascending: bool,
        limit: usize,
    ) -> Result<AuditPage, StorageError> {
        self.query(&self.list_readers, move |_, store| {
            pages::audit_page(store, &filter, beyond, ascending, limit)
        })
        .await
    }
}
