//! An event as conditions see it.

use std::{collections::HashMap, sync::OnceLock};

use cel::{
    common::{
        types::{CelMap, CelMapKey, CelNull, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};

use super::values::Values;
use crate::domain::{facts::Facts, json};

/// An event that conditions are asked about: what they need of it is made once, when the first one asks.
pub struct Subject<'a> {
    facts: Facts<'a>,
    occurred_at: String,
    attributes: OnceLock<Box<dyn Val>>,
    data: OnceLock<Option<Box<dyn Val + 'a>>>,
}

impl<'a> Subject<'a> {
    pub fn new(facts: Facts<'a>) -> Self {
        Self {
            occurred_at: facts.occurred_at.to_string(),
            facts,
            attributes: OnceLock::new(),
            data: OnceLock::new(),
        }
    }

    /// Whether `data` is JSON, which is tried once.
    pub(super) fn has_data(&self) -> bool {
        self.data().is_some()
    }

    fn data(&self) -> Option<&(dyn Val + 'a)> {
        let read = || match self.facts.data {
            None => Some(Box::new(CelNull) as Box<dyn Val + 'a>),
            Some(text) => json::read(text, &Values),
        };
        self.data.get_or_init(read).as_deref()
    }

    fn attributes(&self) -> &dyn Val {
        let map = || {
            let pair = |(name, value): (&String, &String)| {
                let value: Box<dyn Val> = Box::new(CelString::from(value.clone()));
                (CelMapKey::from(name.clone()), value)
            };
            let members: HashMap<_, _> = self.facts.attributes.iter().map(pair).collect();
            Box::new(CelMap::from(members)) as Box<dyn Val>
        };
        self.attributes.get_or_init(map).as_ref()
    }
}

impl VariableResolver for Subject<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| CowVal::owned(CelString::from(text));
        let optional = |label: Option<&'b str>| label.map_or_else(|| CowVal::owned(CelNull), text);
        Some(match variable {
            "id" => text(self.facts.id),
            "type" => text(self.facts.event_type),
            "tenant" => optional(self.facts.tenant),
            "channel" => optional(self.facts.channel),
            "occurred_at" => text(&self.occurred_at),
            "attributes" => CowVal::Borrowed(self.attributes()),
            "data" => CowVal::Borrowed(self.data()?),
            _ => return None,
        })
    }
}
