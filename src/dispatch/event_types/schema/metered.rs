//! A payload as the validator reads it: every look at it is counted, and when the count is spent there is nothing
//! more to see.
//!
//! How long a validation takes is up to the schema and the payload together, and can grow exponentially in the depth
//! of both. The validator has no fuel of its own; but it sees the payload through this representation alone. Once
//! the steps are spent every value reads as null and every list as ended, so that it comes to its end at once.
//! What it then says is worth nothing: ask [`Meter::is_spent`] first.

use std::{borrow::Cow, cell::Cell};

use jsonschema::{
    JsonType,
    json::{Array, Json, Node, NodeIdentity, Object, cmp, unique},
};
use serde_json::{Map, Number, Value, map};

/// Counts down.
pub struct Meter {
    steps: Cell<u64>,
    spent: Cell<bool>,
}

impl Meter {
    pub const fn new(steps: u64) -> Self {
        Self {
            steps: Cell::new(steps),
            spent: Cell::new(false),
        }
    }

    /// Whether the steps ran out, so that the payload was not seen whole.
    pub const fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// Takes steps; false when there are not so many left.
    fn take(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps as u64);
        self.steps.set(left.unwrap_or(0));
        self.spent.set(self.spent.get() || left.is_none());
        !self.spent.get()
    }
}

/// The representation.
pub struct Metered;

/// One value of a payload.
#[derive(Copy, Clone)]
pub struct Reading<'a> {
    value: &'a Value,
    meter: &'a Meter,
}

impl<'a> Reading<'a> {
    pub const fn new(value: &'a Value, meter: &'a Meter) -> Self {
        Self { value, meter }
    }

    /// The value, or null when the steps are spent. A text costs a step for each of its bytes.
    fn look(&self) -> &'a Value {
        const NULL: &Value = &Value::Null;
        let cost = match self.value {
            Value::String(text) => 1 + text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => 1,
        };
        if self.meter.take(cost) { self.value } else { NULL }
    }
}

/// A member's name as a value of its own. How many there are was counted when they were listed.
pub struct Name {
    name: Value,
    meter: Meter,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            name: Value::Null,
            meter: Meter::new(u64::MAX),
        }
    }
}

impl Json for Metered {
    type Node<'a> = Reading<'a>;
    type PreparedKey = String;
    type StringBuffer = Name;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut Name, string: &str, f: impl FnOnce(Reading<'_>) -> T) -> T {
        buffer.name = Value::String(string.to_owned());
        f(Reading::new(&buffer.name, &buffer.meter))
    }
}

impl<'a> Node<'a, Metered> for Reading<'a> {
    type Object = Members<'a>;
    type Array = Items<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Members<'a>> {
        let members = self.look().as_object()?;
        Some(Members {
            members,
            meter: self.meter,
        })
    }

    fn as_array(&self) -> Option<Items<'a>> {
        let items = self.look().as_array()?;
        Some(Items {
            items,
            meter: self.meter,
        })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.look().as_str().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        self.look().as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        self.look().as_bool()
    }

    fn is_null(&self) -> bool {
        self.look().is_null()
    }

    fn json_type(&self) -> JsonType {
        // Looks at no text, so that a type costs one step whatever the value.
        let value = if self.meter.take(1) {
            self.value
        } else {
            &Value::Null
        };
        match value {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        cmp::equal(self.look(), expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Borrowed(self.value)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.value).addr()))
    }
}

/// An object of a payload.
pub struct Members<'a> {
    members: &'a Map<String, Value>,
    meter: &'a Meter,
}

impl<'a> Object<'a, Metered> for Members<'a> {
    type Node = Reading<'a>;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        self.members.len()
    }

    fn get(&self, key: &String) -> Option<Reading<'a>> {
        if !self.meter.take(1) {
            return None;
        }
        let value = self.members.get(key)?;
        Some(Reading::new(value, self.meter))
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter {
            members: self.members.iter(),
            meter: self.meter,
        }
    }
}

/// The members of an object, name by name.
pub struct MembersIter<'a> {
    members: map::Iter<'a>,
    meter: &'a Meter,
}

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, Reading<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.members.next()?;
        let seen = self.meter.take(1 + name.len());
        seen.then(|| (name.as_str(), Reading::new(value, self.meter)))
    }
}

/// An array of a payload.
pub struct Items<'a> {
    items: &'a [Value],
    meter: &'a Meter,
}

impl<'a> Array<'a, Metered> for Items<'a> {
    type Node = Reading<'a>;
    type ElementsIter = ItemsIter<'a>;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn elements(&self) -> ItemsIter<'a> {
        ItemsIter {
            items: self.items.iter(),
            meter: self.meter,
        }
    }

    fn is_unique(&self) -> bool {
        // Hashes everything below, once; the bytes of it are not known here.
        !self.meter.take(self.items.len()) || unique::is_unique(self.items)
    }
}

/// The items of an array.
pub struct ItemsIter<'a> {
    items: std::slice::Iter<'a, Value>,
    meter: &'a Meter,
}

impl<'a> Iterator for ItemsIter<'a> {
    type Item = Reading<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.items.next()?;
        self.meter.take(1).then(|| Reading::new(value, self.meter))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spent_meter_shows_nothing_more() {
        let value = json!({"a": [1, 2, 3], "b": "text"});
        let meter = Meter::new(7);
        let members = Reading::new(&value, &meter).as_object().unwrap();
        let items = members.get(&"a".to_owned()).unwrap().as_array().unwrap();
        assert_eq!(items.elements().count(), 3);
        assert!(!meter.is_spent());
        // One step is left, and a text of four bytes costs five.
        assert!(Reading::new(&value["b"], &meter).as_string().is_none());
        assert!(members.get(&"b".to_owned()).is_none());
        assert_eq!(items.elements().count(), 0);
        assert!(Reading::new(&value, &meter).is_null());
        assert!(meter.is_spent());
    }
}
