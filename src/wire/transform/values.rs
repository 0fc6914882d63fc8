//! An event's data as values of the engine, and values as JSON.
//!
//! The engine writes a number as it would, not as it was written: `1.10` as `1.1`. So a number that it would write
//! otherwise is a [`Digits`] here, which is copied as it is, compares by its value ([`super::compare`]), and becomes a
//! number of the engine where it is calculated with ([`lowered`]).

use std::{borrow::Cow, cmp::Ordering, collections::HashMap, fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, Value,
    value::{DynObject, Enumerator, Object, ObjectExt as _, ObjectRepr, ValueKind},
};

use crate::domain::json::{Build, decimal};

pub(super) const HALF_TEXT: &str =
    "a text with half a surrogate pair, which is not Unicode; only the filter tojson copies it";
pub(super) const OUT_OF_RANGE: &str = "a number out of range";

/// A number as it was written.
pub(super) struct Digits(pub Arc<str>);

impl Digits {
    /// The number of the engine that is nearest.
    ///
    /// # Errors
    /// [`OUT_OF_RANGE`] when it is beyond a double.
    pub fn number(&self) -> Result<Value, Error> {
        if let Ok(whole) = self.0.parse::<i128>() {
            return Ok(Value::from(whole));
        }
        match self.0.parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(Value::from(double)),
            _ => Err(Error::new(ErrorKind::InvalidOperation, OUT_OF_RANGE)),
        }
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        decimal::compare(&self.0, "0") != Some(Ordering::Equal)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        decimal::compare(&self.0, &other.downcast_ref::<Self>()?.0)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the engine shows it within a list that becomes text.
impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text with half a surrogate pair, as it was written, with its quotes.
#[derive(Debug)]
pub(super) struct HalfText(Arc<str>);

impl HalfText {
    pub fn error() -> Error {
        Error::new(ErrorKind::InvalidOperation, HALF_TEXT)
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Object for HalfText {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// An object: its members in their order.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: Vec<(Value, Value)>,
    places: HashMap<Box<str>, usize>,
}

impl Object for Members {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let (_, value) = &self.members[*self.places.get(key)?];
        Some(value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_key_value_enumerator(|this| Box::new(this.members.iter().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.members.len())
    }
}

/// Makes values of JSON.
pub(super) struct Values;

impl<'a> Build<'a> for Values {
    type Value = Value;
    type List = Vec<Value>;
    type Object = Members;

    fn null(&self) -> Value {
        Value::from(())
    }

    fn boolean(&self, value: bool) -> Value {
        Value::from(value)
    }

    fn number(&self, digits: &'a str) -> Value {
        own_number(digits).unwrap_or_else(|| Value::from_object(Digits(Arc::from(digits))))
    }

    fn text(&self, text: Cow<'a, str>) -> Value {
        Value::from(&*text)
    }

    fn half_text(&self, written: &'a str) -> Value {
        Value::from_object(HalfText(Arc::from(written)))
    }

    fn item(&self, list: &mut Vec<Value>, item: Value) {
        list.push(item);
    }

    fn list(&self, list: Vec<Value>) -> Value {
        Value::from(list)
    }

    fn member(&self, object: &mut Members, name: Cow<'a, str>, value: Value) {
        if let Some(place) = object.places.get(&*name) {
            object.members[*place].1 = value;
            return;
        }
        object.members.push((Value::from(&*name), value));
        object.places.insert(name.into(), object.members.len() - 1);
    }

    fn object(&self, object: Members) -> Value {
        Value::from_object(object)
    }
}

/// The number of the engine that it writes by these very digits, as text and as JSON.
fn own_number(digits: &str) -> Option<Value> {
    /// Digits that any double keeps.
    const KEPT: usize = 15;
    if decimal::is_whole(digits) {
        return digits
            .parse::<i128>()
            .ok()
            .filter(|_| digits != "-0")
            .map(Value::from);
    }
    let (whole, fraction) = digits.trim_start_matches('-').split_once('.')?;
    let positional = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let trimmed = fraction == "0" || !fraction.ends_with('0');
    // A double that is smaller is written with an exponent.
    let large_enough = whole != "0" || fraction == "0" || !fraction.starts_with("0000");
    let kept = whole.len() + fraction.len() <= KEPT;
    let own = positional && trimmed && large_enough && kept;
    own.then(|| digits.parse::<f64>().ok()).flatten().map(Value::from)
}

pub(super) fn digits_of(value: &Value) -> Option<&Digits> {
    value.downcast_object_ref::<Digits>()
}

pub(super) fn half_text_of(value: &Value) -> Option<&HalfText> {
    value.downcast_object_ref::<HalfText>()
}

/// A value with numbers of the engine in place of digits, all that it holds included.
///
/// # Errors
/// [`OUT_OF_RANGE`].
pub(super) fn lowered(value: &Value) -> Result<Value, Error> {
    changed(value, &|value| digits_of(value).map(Digits::number).transpose())
}

/// A value with digits in place of numbers of the engine, so that all of its numbers compare with each other.
pub(super) fn lifted(value: &Value) -> Result<Value, Error> {
    changed(value, &|value| {
        let finite = value.is_number() && f64::try_from(value.clone()).is_ok_and(f64::is_finite);
        Ok(finite.then(|| Value::from_object(Digits(Arc::from(value.to_string())))))
    })
}

/// A copy of a value in which some others stand for numbers. Named arguments stay as they are.
fn changed(value: &Value, change: &dyn Fn(&Value) -> Result<Option<Value>, Error>) -> Result<Value, Error> {
    if let Some(other) = change(value)? {
        return Ok(other);
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.checked().map(|item| changed(&item?, change));
            Ok(Value::from(items.collect::<Result<Vec<Value>, Error>>()?))
        }
        ValueKind::Map if !value.is_kwargs() => {
            let mut members = Members::default();
            for name in value.try_iter()?.checked() {
                let name = name?;
                let member = changed(&value.get_item(&name)?, change)?;
                match name.as_str() {
                    Some(text) => {
                        Values.member(&mut members, Cow::Borrowed(text), member);
                    }
                    // Only a template's own object has such a name.
                    None => return Ok(value.clone()),
                }
            }
            Ok(Value::from_object(members))
        }
        _ => Ok(value.clone()),
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// When it is nothing that JSON has.
pub(super) fn json(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_json(value, &mut out)?;
    Ok(out)
}

fn write_json(value: &Value, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (item, place) in value.try_iter()?.checked().zip(0..) {
                if place > 0 {
                    out.push(',');
                }
                write_json(&item?, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (name, place) in value.try_iter()?.checked().zip(0..) {
                let name = name?;
                if place > 0 {
                    out.push(',');
                }
                write_name(&name, out)?;
                out.push(':');
                write_json(&value.get_item(&name)?, out)?;
            }
            out.push('}');
        }
        _ => match (digits_of(value), half_text_of(value)) {
            (Some(Digits(written)), _) | (_, Some(HalfText(written))) => out.push_str(written),
            (None, None) => out.push_str(&scalar(value)?),
        },
    }
    Ok(())
}

fn write_name(name: &Value, out: &mut String) -> Result<(), Error> {
    if name.is_number() || name.kind() == ValueKind::Bool {
        out.push('"');
        out.push_str(&scalar(name)?);
        out.push('"');
        return Ok(());
    }
    match name.as_str() {
        Some(_) => out.push_str(&scalar(name)?),
        None => return Err(not_json()),
    }
    Ok(())
}

fn scalar(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| not_json().with_source(error))
}

fn not_json() -> Error {
    Error::new(ErrorKind::BadSerialization, "not a value of JSON")
}
