//! An event's data as values of the language.

use std::{any::Any, borrow::Cow, cmp::Ordering, collections::HashMap, sync::Arc};

use cel::{
    ExecutionError,
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Type},
        value::{CowVal, StaticVal, Val},
    },
};

use super::compare;
use crate::domain::json::{Build, decimal};

/// What reading half a surrogate pair comes to.
pub(super) const HALF_TEXT: &str = "a text with half a surrogate pair, which is not Unicode";
/// What calculating with a number beyond a double comes to.
pub(super) const OUT_OF_RANGE: &str = "a number out of range";

/// `@digits(text)` is the number of a literal whose digits a double would round.
pub(super) const DIGITS: &str = "@digits";

/// A number that no int, uint or double holds: a `double` of more digits. It compares by its value; to calculate
/// with it makes it a double first.
#[derive(Clone, Debug)]
pub(super) struct Digits(pub Arc<str>);

impl Digits {
    /// # Errors
    /// [`OUT_OF_RANGE`].
    pub fn double(&self) -> Result<CelDouble, ExecutionError> {
        match self.0.parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(CelDouble::from(double)),
            _ => Err(ExecutionError::InternalError(OUT_OF_RANGE.to_owned())),
        }
    }
}

impl Val for Digits {
    fn get_type(&self) -> &Type {
        CelDouble::cel_type()
    }

    fn cel_type() -> &'static Type {
        CelDouble::cel_type()
    }

    fn equals(&self, other: &dyn Val) -> bool {
        compare::numbers(self, other) == Some(Some(Ordering::Equal))
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Digits {}

/// A text that cannot be read, for half a surrogate pair in it. To look at it is an error; to pass it by is not.
#[derive(Copy, Clone, Debug)]
pub(super) struct HalfText;

impl HalfText {
    pub fn error() -> ExecutionError {
        ExecutionError::InternalError(HALF_TEXT.to_owned())
    }
}

impl Val for HalfText {
    fn get_type(&self) -> &Type {
        CelString::cel_type()
    }

    fn cel_type() -> &'static Type {
        CelString::cel_type()
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for HalfText {}

/// Makes values of JSON. They borrow the event's own bytes.
pub(super) struct Values;

type Boxed<'a> = Box<dyn Val + 'a>;

impl<'a> Build<'a> for Values {
    type Value = Boxed<'a>;
    type List = Vec<Boxed<'a>>;
    type Object = HashMap<CelMapKey<'a>, Boxed<'a>>;

    fn null(&self) -> Boxed<'a> {
        Box::new(CelNull)
    }

    fn boolean(&self, value: bool) -> Boxed<'a> {
        Box::new(CelBool::from(value))
    }

    fn number(&self, digits: &'a str) -> Boxed<'a> {
        if decimal::is_whole(digits) {
            if let Ok(number) = digits.parse::<i64>() {
                return Box::new(CelInt::from(number));
            }
            if let Ok(number) = digits.parse::<u64>() {
                return Box::new(CelUInt::from(number));
            }
        }
        match decimal::exact_double(digits) {
            Some(double) => Box::new(CelDouble::from(double)),
            None => Box::new(Digits(Arc::from(digits))),
        }
    }

    fn text(&self, text: Cow<'a, str>) -> Boxed<'a> {
        Box::new(CelString::from(text))
    }

    fn half_text(&self, _: &'a str) -> Boxed<'a> {
        Box::new(HalfText)
    }

    fn item(&self, list: &mut Self::List, item: Boxed<'a>) {
        list.push(item);
    }

    fn list(&self, list: Self::List) -> Boxed<'a> {
        Box::new(CelList::from(list))
    }

    fn member(&self, object: &mut Self::Object, name: Cow<'a, str>, value: Boxed<'a>) {
        let key = match name {
            Cow::Borrowed(name) => CelMapKey::from(name),
            Cow::Owned(name) => CelMapKey::from(name),
        };
        object.insert(key, value);
    }

    fn object(&self, object: Self::Object) -> Boxed<'a> {
        Box::new(CelMap::from(object))
    }
}

/// [`DIGITS`].
pub(super) fn digits<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = args.first().and_then(|text| text.downcast_ref::<CelString>());
    let text = text.ok_or_else(super::env::broke)?;
    Ok(CowVal::owned(Digits(Arc::from(text.inner()))))
}
