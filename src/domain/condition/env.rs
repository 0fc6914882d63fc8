//! The interpreter's environment: its parser, its functions and ours.

use std::{
    any::Any,
    sync::{Arc, LazyLock},
};

use cel::{
    Env, ExecutionError,
    common::{
        ast::{IdedExpr as Expression, SourceInfo},
        types::{CelBool, CelBytes, CelInt, CelList, CelMap, CelString, DYN_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};

use super::{
    InvalidCondition, compare, guard, regexes,
    values::{self, Digits, HalfText},
};
use crate::domain::{
    budget::{Budget, Spent},
    limits,
};

/// The variable that holds the budget. No expression can write such a name, nor those of the functions below.
pub(super) const METER: &str = "@meter";
/// `@spend(@meter, n)` pays `n` and is true.
pub(super) const SPEND: &str = "@spend";
/// `@pay(@meter, value)` pays for the value by its size, and is the value.
pub(super) const PAY: &str = "@pay";
/// `@operand(@meter, value)` is the same for a value that is calculated with or looked into: digits become a double,
/// and what cannot be read is an error.
pub(super) const OPERAND: &str = "@operand";

static METER_TYPE: Type = Type::new_unspecified_type(METER);

/// The budget as a value of the language.
#[derive(Clone, Debug)]
pub(super) struct Meter(pub Arc<Budget>);

impl Val for Meter {
    fn get_type(&self) -> &Type {
        &METER_TYPE
    }

    fn cel_type() -> &'static Type {
        &METER_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Meter {}

/// The standard library without optionals, and our functions.
pub(super) fn standard() -> Arc<Env> {
    static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib().with_optional_support(false);
        let any = || vec![DYN_TYPE, DYN_TYPE];
        // The names are ours alone, so that nothing can be there already.
        _ = env.add_overload(SPEND, SPEND, any(), spend);
        _ = env.add_overload(PAY, PAY, any(), pay);
        _ = env.add_overload(OPERAND, OPERAND, any(), operand);
        _ = env.add_overload(values::DIGITS, values::DIGITS, vec![DYN_TYPE], values::digits);
        for (_, name, function) in compare::STAND_INS {
            _ = env.add_overload(name, name, vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], function);
        }
        _ = env.add_overload(
            regexes::SEARCH,
            regexes::SEARCH,
            vec![DYN_TYPE, DYN_TYPE, DYN_TYPE],
            regexes::search,
        );
        Arc::new(env)
    });
    ENV.clone()
}

/// Parses an expression; answers where each of its nodes was written as well.
pub(super) fn parse(source: &str) -> Result<(Expression, SourceInfo), InvalidCondition> {
    let parser = standard().parser();
    let parsed = parser
        .enable_ident_escape_syntax(true)
        .max_recursion_depth(limits::CONDITION_DEPTH as u16)
        .parse_with_source_info(source);
    parsed.map_err(|errors| match errors.errors.first() {
        Some(error) => guard::place_error(source, error.pos, &error.msg),
        None => InvalidCondition::Panicked,
    })
}

pub(super) fn budget(value: &dyn Val) -> Result<&Budget, ExecutionError> {
    let meter = value.downcast_ref::<Meter>().ok_or_else(broke)?;
    Ok(&meter.0)
}

pub(super) fn broke() -> ExecutionError {
    ExecutionError::InternalError("budget".to_owned())
}

fn spend<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [meter, units] = &args[..] else {
        return Err(broke());
    };
    let units = units.downcast_ref::<CelInt>().ok_or_else(broke)?;
    let units = u64::try_from(*units.inner()).map_err(|_| broke())?;
    budget(meter.as_ref())?.charge(units).map_err(|_| broke())?;
    Ok(CowVal::owned(CelBool::from(true)))
}

fn pay<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.pop().ok_or_else(broke)?;
    let meter = args.pop().ok_or_else(broke)?;
    weigh(value.as_ref(), budget(meter.as_ref())?).map_err(|_| broke())?;
    Ok(value)
}

fn operand<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = pay(args)?;
    if let Some(digits) = value.downcast_ref::<Digits>() {
        return Ok(CowVal::owned(digits.double()?));
    }
    if value.downcast_ref::<HalfText>().is_some() {
        return Err(HalfText::error());
    }
    Ok(value)
}

/// Pays for a value and all it holds. Ends as soon as the budget does.
pub(super) fn weigh(value: &dyn Val, budget: &Budget) -> Result<(), Spent> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return budget.charge_text(text.inner().len());
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        return budget.charge_text(bytes.inner().len());
    }
    if let Some(Digits(digits)) = value.downcast_ref::<Digits>() {
        return budget.charge_text(digits.len());
    }
    budget.charge(1)?;
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list
            .inner()
            .iter()
            .try_for_each(|item| weigh(item.as_ref(), budget));
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        return map.inner().iter().try_for_each(|(name, item)| {
            weigh(name.inner(), budget)?;
            weigh(item.as_ref(), budget)
        });
    }
    Ok(())
}
