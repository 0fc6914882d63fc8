//! An event as conditions see it.

use std::{collections::HashMap, fmt, sync::OnceLock};

use cel::{
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::domain::facts::Facts;

/// An event that conditions are asked about: what they need of it is made once, when the first one asks.
pub struct Subject<'a> {
    facts: Facts<'a>,
    occurred_at: String,
    attributes: OnceLock<Box<dyn Val>>,
    data: OnceLock<Option<Box<dyn Val>>>,
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

    /// Whether `data` can be read, which is tried once.
    pub(super) fn has_data(&self) -> bool {
        self.data().is_some()
    }

    fn data(&self) -> Option<&dyn Val> {
        let read = || match self.facts.data {
            None => Some(Box::new(CelNull) as Box<dyn Val>),
            Some(text) => serde_json::from_slice(text).ok().map(|Json(value)| value),
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

/// A JSON value as a value of the language.
struct Json(Box<dyn Val>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read).map(Self)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Box<dyn Val>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Box::new(CelInt::from(value)),
            Err(_) => Box::new(CelUInt::from(value)),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list: Vec<Box<dyn Val>> = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
        while let Some((name, Json(value))) = members.next_entry::<String, _>()? {
            map.insert(CelMapKey::from(name), value);
        }
        Ok(Box::new(CelMap::from(map)))
    }
}
