//! The registry of event types: what a type means, what its events' data looks like, whether it is still to be used.
//!
//! # The cast
//!
//! A **declaration** stands in a record of the journal. The store knows where it lies; the [`catalogue`] holds it in memory
//! with its compiled [`schema`]. [`import`] reads declarations out of an OpenAPI description.
//!
//! # The flow
//!
//! A declaration is checked, compiled, made durable, and in force once the applier has put it into the catalogue. An
//! event's type is looked up there once when it is accepted; only if it has a schema is the data parsed.
//!
//! # What it guarantees
//!
//! Types need not be declared: an undeclared one is accepted as ever. What was accepted stays so, whatever is declared
//! later: neither deliveries nor replays nor a repeated request with the same id are held against a schema. What the
//! server sends of its own accord is never held against one.
//!
//! # What it does not
//!
//! Declarations are the server's, not a tenant's. There is no history of them beyond the journal.

mod catalogue;
pub mod import;
mod load;
mod schema;
pub mod view;

use std::sync::Arc;

use serde_json::{Value, value::RawValue};

pub(super) use self::catalogue::Catalogue;
use self::{
    catalogue::Declared,
    schema::{InvalidSchema, Mismatch, Schema, on_a_deep_stack},
    view::{EventTypeView, NewEventType},
};
use super::{
    audit,
    engine::{Engine, Shared},
    error::{EngineError, Fault},
    queries::{self, bad_cursor},
    view::{Listed, Page},
};
use crate::{
    domain::{
        configuration::ConfigChange,
        event::{EventType, is_unsafe},
        limits, operational,
        record::{EventAccepted, EventTypeDeleted, EventTypePut},
        time::Timestamp,
    },
    runtime::work_pool::Owner,
};

/// Types that the server sends beside operational events: in handshakes, and as tests.
const SENT_TO_ENDPOINTS: [&str; 4] = [
    "endpoint.ping",
    "endpoint.test",
    "endpoint.url_validation",
    "endpoint.verification",
];

impl Engine {
    /// Declares an event type, or replaces its declaration; answers it, and whether it is new.
    ///
    /// # Errors
    /// `Invalid` and `Faults` name the member at fault.
    pub async fn put_event_type(
        &self,
        name: EventType,
        new: NewEventType,
    ) -> Result<(EventTypeView, bool), EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        let old = shared.event_types.get(&name);
        if old.is_none() && shared.event_types.len() >= limits::EVENT_TYPES {
            return Err(too_many());
        }
        let put = new.into_record(name.clone(), self.now());
        if let Some(old) = old.as_ref().filter(|old| says_the_same(&old.put, &put)) {
            return Ok((shared.clock.show(view::show(old)), false));
        }
        let checked = compiling(move || check(&put).map(|()| put)).await??;
        let audited = audit::of_event_type(shared, old.as_ref().map(|old| &old.put), Some(&checked));
        let mut changes = vec![ConfigChange::EventTypePut(checked)];
        changes.extend(audited);
        let _held = shared.save(one_at_a_time, changes).await?;
        let declared = shared.event_types.get(&name).ok_or(EngineError::Rebuilding)?;
        Ok((shared.clock.show(view::show(&declared)), old.is_none()))
    }

    /// # Errors
    /// `NotFound` when it is not declared.
    pub fn event_type(&self, name: &EventType) -> Result<EventTypeView, EngineError> {
        let declared = self.0.event_types.get(name).ok_or(NOT_DECLARED)?;
        Ok(self.0.clock.show(view::show(&declared)))
    }

    /// Without schemas and examples.
    ///
    /// # Errors
    /// `Invalid` when the cursor is none of ours.
    pub fn event_types(&self, page: &Page) -> Result<Listed<EventTypeView>, EngineError> {
        let beyond = page.cursor.as_deref().map(read_cursor).transpose()?;
        let mut all = self.0.event_types.all();
        if !page.ascending {
            all.reverse();
        }
        let after = |declared: &&Arc<Declared>| {
            beyond.as_ref().is_none_or(|(at, name)| match page.ascending {
                true => declared.place() > (*at, name),
                false => declared.place() < (*at, name),
            })
        };
        let rows: Vec<_> = all.iter().filter(after).take(page.limit + 1).collect();
        let cursor = |declared: &&Arc<Declared>| {
            let (at, name) = declared.place();
            format!("{}:{name}", at.as_millis())
        };
        Ok(queries::filled(rows, page.limit, cursor, |declared| {
            Some(self.0.clock.show(view::listed(declared)))
        }))
    }

    /// Deletes a declaration; events of the type are accepted on, whatever they hold.
    ///
    /// # Errors
    /// `NotFound` when it is not declared.
    pub async fn delete_event_type(&self, name: &EventType) -> Result<(), EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        let old = shared.event_types.get(name).ok_or(NOT_DECLARED)?;
        let deleted = EventTypeDeleted {
            event_type: name.clone(),
            at: self.now(),
        };
        let mut changes = vec![ConfigChange::EventTypeDeleted(deleted)];
        changes.extend(audit::of_event_type(shared, Some(&old.put), None));
        shared.save(one_at_a_time, changes).await.map(drop)
    }
}

const NOT_DECLARED: EngineError = EngineError::NotFound("event type");

const fn too_many() -> EngineError {
    EngineError::TooMany {
        what: "event types",
        limit: limits::EVENT_TYPES,
    }
}

fn read_cursor(text: &str) -> Result<(Timestamp, EventType), EngineError> {
    let (millis, name) = text.split_once(':').ok_or_else(bad_cursor)?;
    let millis = millis.parse().map_err(|_| bad_cursor())?;
    let name = name.parse().map_err(|_| bad_cursor())?;
    Ok((Timestamp::from_millis(millis), name))
}

/// Whether two declarations differ in nothing but their time and how their JSON is written.
fn says_the_same(a: &EventTypePut, b: &EventTypePut) -> bool {
    let same = |a: &Option<String>, b: &Option<String>| {
        let read = |text: &Option<String>| {
            let text = text.as_deref()?;
            serde_json::from_str::<Value>(text).ok()
        };
        a == b || (a.is_some() && read(a).is_some() && read(a) == read(b))
    };
    let one = (&a.event_type, &a.description, a.deprecated);
    one == (&b.event_type, &b.description, b.deprecated)
        && same(&a.schema, &b.schema)
        && same(&a.example, &b.example)
}

/// Compiles somewhere else: it takes its time, and needs a deep stack.
async fn compiling<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(move || on_a_deep_stack(work)).await;
    let done = done.map_err(|error| EngineError::Storage(Box::new(error)))?;
    done.map_err(|error| EngineError::Storage(Box::new(error)))
}

/// Checks a declaration: its texts, its schema, and its example against that. Call it on a deep stack.
fn check(put: &EventTypePut) -> Result<(), EngineError> {
    let refuse = |field: &str, rule: String| {
        Err(EngineError::Invalid {
            field: field.to_owned(),
            rule,
        })
    };
    if let Some(text) = &put.description {
        let fits = (1..=limits::DESCRIPTION_BYTES).contains(&text.len());
        let breaks = |letter: char| is_unsafe(letter) && !matches!(letter, '\n' | '\t');
        if !fits || text.chars().any(breaks) {
            return refuse(
                "description",
                "use 1 to 4096 bytes of text, without control characters but line ends and tabs".to_owned(),
            );
        }
    }
    let example = put.example.as_deref();
    if example.is_some_and(|example| example.len() > limits::SCHEMA_BYTES) {
        let most = limits::SCHEMA_BYTES;
        return refuse(
            "example",
            format!("has more than {most} bytes; give a shorter one"),
        );
    }
    let Some(text) = &put.schema else {
        return Ok(());
    };
    // Nor has anything else that the server makes itself: its form is the server's.
    let name = &put.event_type;
    if operational::is_reserved(name) || SENT_TO_ENDPOINTS.contains(&name.as_str()) {
        let rule =
            "is not for this type: its events are the server's own, and their form is fixed; leave it out";
        return refuse("schema", rule.to_owned());
    }
    let schema = Schema::compile(text).map_err(fault_in_schema)?;
    match example.map(|example| schema.check(example.as_bytes())) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(mismatch)) => Err(mismatched("example", mismatch)),
    }
}

fn fault_in_schema(error: InvalidSchema) -> EngineError {
    EngineError::Faults {
        field: "schema",
        faults: vec![Fault {
            pointer: format!("/schema{}", error.pointer),
            rule: error.rule,
        }],
    }
}

/// What it means that `field` does not meet its type's schema.
fn mismatched(field: &'static str, mismatch: Mismatch) -> EngineError {
    let whole = |rule: &str| {
        vec![Fault {
            pointer: format!("/{field}"),
            rule: rule.to_owned(),
        }]
    };
    let faults = match mismatch {
        Mismatch::Unreadable(why) => whole(&format!("cannot be held against its type's schema: {why}")),
        Mismatch::TooDeep => {
            whole("is nested too deeply to be held against its type's schema; make it flatter")
        }
        Mismatch::TooCostly => whole(
            "takes too long to be held against its type's schema; simplify the schema, or make the data smaller",
        ),
        Mismatch::Violations(found) => found
            .into_iter()
            .map(|violation| Fault {
                pointer: format!("/{field}{}", violation.pointer),
                rule: violation.rule,
            })
            .collect(),
    };
    EngineError::Faults { field, faults }
}

impl Shared {
    /// Holds an event's data against its type's schema, if it has one; answers whether the type is deprecated. What takes
    /// its time is done in the work pool.
    pub(super) async fn check_data(&self, event: &EventAccepted) -> Result<bool, EngineError> {
        let Some(declared) = self.event_types.get(&event.event_type) else {
            return Ok(false);
        };
        let deprecated = declared.put.deprecated;
        let Some(schema) = &declared.schema else {
            return Ok(deprecated);
        };
        let payload = &event.payload;
        if payload.content_type.is_some() {
            return Err(EngineError::Invalid {
                field: "data".to_owned(),
                rule: "is not JSON, and cannot be held against its type's schema; send JSON".to_owned(),
            });
        }
        if payload.bytes.len() <= limits::INLINE_DATA_BYTES
            && schema.is_met_within(&payload.bytes, limits::INLINE_VALIDATION_STEPS)
        {
            return Ok(deprecated);
        }
        let (owner, bytes) = (Owner::request(event.tenant.clone()), payload.bytes.clone());
        let checking = async move {
            declared
                .schema
                .as_ref()
                .map_or(Ok(()), |schema| schema.check(&bytes))
        };
        match self.work.run(owner, checking).await? {
            Ok(()) => Ok(deprecated),
            Err(mismatch) => Err(mismatched("data", mismatch)),
        }
    }
}

/// JSON as it was written.
fn text_of(json: Option<Box<RawValue>>) -> Option<String> {
    json.map(|json| Box::<str>::from(json).into_string())
}
