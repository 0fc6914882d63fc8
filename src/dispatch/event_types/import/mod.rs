//! Event types out of an OpenAPI 3.1 description: each entry of its `webhooks` declares the type of its name.
//!
//! # What is taken
//!
//! The schema of the request body's JSON, with everything that it refers to [bundled](bundle) into `$defs`; the first
//! example; the operation's description, or its summary; `deprecated`. A webhook without a JSON body becomes a type
//! without a schema.
//!
//! A body that is the standard envelope, an object of `type`, `timestamp` and `data`, describes the request that
//! receivers get. What a sender hands over is the data, so that the schema of `data` is taken, and of the example its
//! `data`. Any other body is taken to be the data itself.
//!
//! # What it guarantees
//!
//! Webhooks stand for themselves: one that is refused, with its place and the reason, keeps no other out. A dry run
//! finds what the import would. What is taken is saved at once, all of it or nothing. Importing the same description again changes nothing.

mod bundle;
mod openapi;

use serde_json::Value;

use super::{
    check, compiling, says_the_same,
    view::{Imported, Refused},
};
use crate::{
    dispatch::{
        audit,
        engine::Engine,
        error::{EngineError, Fault},
    },
    domain::{configuration::ConfigChange, event::EventType, limits, record::EventTypePut},
};

/// Why a webhook is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unfit {
    /// The place in the description, as a JSON pointer.
    pointer: String,
    rule: String,
}

impl Unfit {
    fn new(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            rule: rule.into(),
        }
    }
}

impl Engine {
    /// Declares the event types that a description's webhooks define; with `dry_run`, only says what would come of
    /// it.
    ///
    /// # Errors
    /// `Faults` when it is not a description with webhooks; what is wrong with one webhook is in the answer.
    pub async fn import_event_types(
        &self,
        description: Value,
        dry_run: bool,
    ) -> Result<Imported, EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        let now = self.now();
        let found = compiling(move || {
            let webhooks = openapi::webhooks(&description)?;
            let read = |(name, item)| match openapi::declaration(&description, name, item, now) {
                Ok(put) => checked(put),
                Err(unfit) => Err(refused(name, unfit)),
            };
            Ok(webhooks.into_iter().map(read).collect())
        });
        let found: Result<Vec<Result<EventTypePut, Refused>>, Unfit> = found.await?;
        let found = found.map_err(|unfit| EngineError::Faults {
            field: "openapi",
            faults: vec![Fault {
                pointer: format!("/openapi{}", unfit.pointer),
                rule: unfit.rule,
            }],
        })?;
        let mut imported = Imported {
            dry_run,
            ..Imported::default()
        };
        let mut new = Vec::new();
        for found in found {
            match found {
                Ok(put) => new.extend(self.sort_in(put, &mut imported)),
                Err(refused) => imported.refused.push(refused),
            }
        }
        if !dry_run {
            let changes = new.into_iter().flat_map(|put| {
                let old = shared.event_types.get(&put.event_type);
                let audited = audit::of_event_type(shared, old.as_ref().map(|old| &old.put), Some(&put));
                [ConfigChange::EventTypePut(put)].into_iter().chain(audited)
            });
            let changes = changes.collect();
            let _held = shared.save(one_at_a_time, changes).await?;
        }
        Ok(imported)
    }

    /// Says what a declaration would change; gives it back if it would change anything.
    fn sort_in(&self, put: EventTypePut, imported: &mut Imported) -> Option<EventTypePut> {
        let types = &self.0.event_types;
        let name = put.event_type.clone();
        match types.get(&name) {
            Some(old) if says_the_same(&old.put, &put) => imported.unchanged.push(name),
            Some(_) => {
                imported.changed.push(name);
                return Some(put);
            }
            None if types.len() + imported.created.len() >= limits::EVENT_TYPES => {
                let rule = format!("the limit of {} event types is reached", limits::EVENT_TYPES);
                let unfit = Unfit::new(openapi::place(name.as_str()), rule);
                imported.refused.push(refused(name.as_str(), unfit));
            }
            None => {
                imported.created.push(name);
                return Some(put);
            }
        }
        None
    }
}

fn checked(mut put: EventTypePut) -> Result<EventTypePut, Refused> {
    let name = put.event_type.as_str().to_owned();
    let Err(error) = check(&put) else {
        return Ok(put);
    };
    // An example is a courtesy: descriptions have them out of date more often than not.
    if matches!(&error, EngineError::Faults { field: "example", .. }) && put.example.take().is_some() {
        return Ok(put);
    }
    let rule = error.to_string();
    Err(refused(&name, Unfit::new(openapi::place(&name), rule)))
}

fn refused(name: &str, unfit: Unfit) -> Refused {
    Refused {
        name: name.to_owned(),
        pointer: unfit.pointer,
        rule: unfit.rule,
    }
}

fn event_type(name: &str) -> Result<EventType, Unfit> {
    let read = name.parse::<EventType>();
    read.map_err(|error| Unfit::new(openapi::place(name), format!("its name is {error}")))
}

#[cfg(test)]
mod tests;
