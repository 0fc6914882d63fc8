//! What is let through, and what is written into it: payments for turns and values.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr as Expression, ListExpr, LiteralValue,
    MapEntryExpr, SourceInfo, operators,
};

use super::{
    InvalidCondition, compare,
    env::{METER, OPERAND, PAY, SPEND},
    regexes::{Regexes, SEARCH},
    values::DIGITS,
};
use crate::domain::{facts, json::decimal, limits};

/// An expression with its payments.
pub(super) struct Guarded {
    pub expression: Expression,
    pub regexes: Regexes,
    pub nodes: u64,
    pub reads_data: bool,
}

/// What may be called, beside the macros (`has`, `all`, `exists`, `exists_one`, `map`, `filter`) and `matches`.
const FUNCTIONS: [&str; 12] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
];

/// Types, as `type(x)` gives them.
const TYPES: [&str; 10] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

/// Operators whose operands are truth values, or pass through: nothing is looked at, nothing is paid.
const FREE: [&str; 5] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::NOT_STRICTLY_FALSE,
];

/// Functions that take any value as it is.
const PASSING: [&str; 2] = ["type", "dyn"];

/// Operators that calculate with their operands.
const PAID: [&str; 6] = [
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
];

/// Checks an expression and writes the payments into it.
pub(super) fn guard(
    expression: Expression,
    places: &SourceInfo,
    source: &str,
) -> Result<Guarded, InvalidCondition> {
    let mut guard = Guard {
        places,
        source,
        names: Vec::new(),
        regexes: Regexes::default(),
        nodes: 0,
        reads_data: false,
    };
    let expression = guard.expression(expression, 0)?;
    Ok(Guarded {
        expression,
        regexes: guard.regexes,
        nodes: guard.nodes,
        reads_data: guard.reads_data,
    })
}

struct Guard<'a> {
    places: &'a SourceInfo,
    source: &'a str,
    /// The variables of the comprehensions around.
    names: Vec<String>,
    regexes: Regexes,
    nodes: u64,
    reads_data: bool,
}

type Checked = Result<Expression, InvalidCondition>;

impl Guard<'_> {
    fn expression(&mut self, expression: Expression, depth: usize) -> Checked {
        let id = expression.id;
        if depth >= limits::CONDITION_DEPTH {
            return Err(self.at(id, too_deep()));
        }
        self.nodes += 1;
        let expr = match expression.expr {
            Expr::Literal(literal) => self.literal(id, literal),
            Expr::Ident(name) => self.name(id, name)?,
            Expr::Select(mut select) => {
                *select.operand = self.expression(*select.operand, depth + 1)?;
                Expr::Select(select)
            }
            Expr::Call(call) => self.call(id, call, depth + 1)?,
            Expr::List(list) => Expr::List(ListExpr {
                elements: self.paid_all(PAY, list.elements, depth + 1)?,
                optional_indices: list.optional_indices,
            }),
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    entry.expr = match std::mem::replace(&mut entry.expr, nothing()) {
                        EntryExpr::MapEntry(entry) => EntryExpr::MapEntry(MapEntryExpr {
                            key: self.paid(OPERAND, entry.key, depth + 1)?,
                            value: self.paid(PAY, entry.value, depth + 1)?,
                            optional: entry.optional,
                        }),
                        EntryExpr::StructField(_) => return Err(self.at(id, "there are no such structures")),
                    };
                }
                Expr::Map(map)
            }
            Expr::Comprehension(comprehension) => {
                Expr::Comprehension(Box::new(self.comprehension(*comprehension, depth + 1)?))
            }
            Expr::Struct(_) => return Err(self.at(id, "there are no such structures")),
            Expr::Unspecified => return Err(self.at(id, "not an expression")),
        };
        Ok(Expression { id, expr })
    }

    fn name(&mut self, id: u64, name: String) -> Result<Expr, InvalidCondition> {
        let own = self.names.contains(&name);
        if !own && !facts::NAMES.contains(&name.as_str()) && !TYPES.contains(&name.as_str()) {
            let known = facts::NAMES.join(", ");
            return Err(self.at(id, format!("there is no {name} here; use {known}")));
        }
        self.reads_data |= !own && name == "data";
        Ok(Expr::Ident(name))
    }

    fn call(&mut self, id: u64, call: CallExpr, depth: usize) -> Result<Expr, InvalidCondition> {
        let CallExpr {
            func_name,
            target,
            args,
        } = call;
        let name = func_name.as_str();
        if name == "matches" {
            return self.search(id, target.map(|target| *target), args, depth);
        }
        let compared = compare::STAND_INS
            .iter()
            .find(|(operator, ..)| target.is_none() && *operator == name);
        if let Some((_, stand_in, _)) = compared {
            let mut operands = vec![variable(METER)];
            operands.extend(self.all(args, depth)?);
            return Ok(function(stand_in, operands).expr);
        }
        let args = if target.is_none() && FREE.contains(&name) {
            self.all(args, depth)?
        } else if target.is_none() && name == operators::INDEX {
            self.index(args, depth)?
        } else if PASSING.contains(&name) {
            self.paid_all(PAY, args, depth)?
        } else if FUNCTIONS.contains(&name) || (target.is_none() && PAID.contains(&name)) {
            self.paid_all(OPERAND, args, depth)?
        } else {
            return Err(self.at(
                id,
                format!(
                    "there is no function {name} here; there are matches, {}",
                    FUNCTIONS.join(", ")
                ),
            ));
        };
        let target = target
            .map(|target| self.paid(OPERAND, *target, depth).map(Box::new))
            .transpose()?;
        Ok(Expr::Call(CallExpr {
            func_name,
            target,
            args,
        }))
    }

    /// `text.matches(pattern)`, or `matches(text, pattern)`: the pattern is compiled now.
    fn search(
        &mut self,
        id: u64,
        target: Option<Expression>,
        args: Vec<Expression>,
        depth: usize,
    ) -> Result<Expr, InvalidCondition> {
        let operands: Vec<Expression> = target.into_iter().chain(args).collect();
        let [text, pattern] = <[Expression; 2]>::try_from(operands)
            .map_err(|_| self.at(id, "matches takes a text and a pattern"))?;
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return Err(self.at(pattern.id, "the pattern of matches must be a literal text"));
        };
        let regex = self
            .regexes
            .add(literal.inner())
            .map_err(|what| self.at(pattern.id, what))?;
        let text = self.expression(text, depth)?;
        Ok(function(SEARCH, vec![variable(METER), variable(&regex), text]).expr)
    }

    /// A container is not looked at as a whole when one of its members is taken, unless the index is of a kind whose
    /// refusal copies it.
    fn index(&mut self, args: Vec<Expression>, depth: usize) -> Result<Vec<Expression>, InvalidCondition> {
        let plain = matches!(
            args.get(1).map(|index| &index.expr),
            Some(Expr::Literal(LiteralValue::String(_) | LiteralValue::Int(_)))
        );
        if plain {
            self.all(args, depth)
        } else {
            self.paid_all(OPERAND, args, depth)
        }
    }

    fn comprehension(
        &mut self,
        comprehension: ComprehensionExpr,
        depth: usize,
    ) -> Result<ComprehensionExpr, InvalidCondition> {
        let id = comprehension.iter_range.id;
        if comprehension.iter_var2.is_some() {
            return Err(self.at(id, "a comprehension has one variable"));
        }
        let iter_range = self.paid(OPERAND, comprehension.iter_range, depth)?;
        let accu_init = self.expression(comprehension.accu_init, depth)?;
        self.names.push(comprehension.iter_var.clone());
        self.names.push(comprehension.accu_var.clone());
        let before = self.nodes;
        let loop_cond = self.expression(comprehension.loop_cond, depth)?;
        let loop_step = self.expression(comprehension.loop_step, depth)?;
        let turn = self.nodes - before;
        let result = self.expression(comprehension.result, depth)?;
        self.names.truncate(self.names.len() - 2);
        let mut guarded = ComprehensionExpr {
            iter_range,
            accu_init,
            loop_cond,
            loop_step,
            result,
            ..comprehension
        };
        pay_for_turns(&mut guarded, turn);
        Ok(guarded)
    }

    fn all(
        &mut self,
        expressions: Vec<Expression>,
        depth: usize,
    ) -> Result<Vec<Expression>, InvalidCondition> {
        expressions
            .into_iter()
            .map(|each| self.expression(each, depth))
            .collect()
    }

    fn paid_all(
        &mut self,
        by: &str,
        expressions: Vec<Expression>,
        depth: usize,
    ) -> Result<Vec<Expression>, InvalidCondition> {
        expressions
            .into_iter()
            .map(|each| self.paid(by, each, depth))
            .collect()
    }

    /// An expression whose value is paid for by its size: by [`PAY`] or by [`OPERAND`].
    fn paid(&mut self, by: &str, expression: Expression, depth: usize) -> Checked {
        let checked = self.expression(expression, depth)?;
        Ok(match checked.expr {
            // No larger than the source, whose size is bounded.
            Expr::Literal(_) => checked,
            _ => function(by, vec![variable(METER), checked]),
        })
    }

    /// A literal as it was written: one whose digits a double would round keeps them.
    fn literal(&self, id: u64, literal: LiteralValue) -> Expr {
        let LiteralValue::Double(double) = &literal else {
            return Expr::Literal(literal);
        };
        let written = self.places.offset_for(id).and_then(|(start, _)| {
            let rest: String = self.source.chars().skip(start as usize).collect();
            let rest = rest.trim_start_matches(['-', ' ']);
            let sign = if double.is_sign_negative() { "-" } else { "" };
            decimal::length(rest.as_bytes()).map(|length| format!("{sign}{}", &rest[..length]))
        });
        let digits = written.filter(|digits| digits.parse() == Ok(*double.inner()));
        match digits.filter(|digits| decimal::exact_double(digits).is_none()) {
            Some(digits) => {
                let digits = self::literal(LiteralValue::String(digits.into()));
                function(DIGITS, vec![digits]).expr
            }
            None => Expr::Literal(literal),
        }
    }

    fn at(&self, id: u64, what: impl Into<String>) -> InvalidCondition {
        let offset = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: String = self.source.chars().take(offset).collect();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        InvalidCondition::At {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: what.into(),
        }
    }
}

/// Has each turn of a loop paid for before it is made.
///
/// `map` and `filter` keep their shape, by which the interpreter knows that it may append in place; their errors end
/// the loop wherever they come up. `all` and `exists` put errors off, but not those of the loop's own condition.
fn pay_for_turns(comprehension: &mut ComprehensionExpr, units: u64) {
    if !matches!(comprehension.loop_cond.expr, Expr::Literal(_)) {
        return before(&mut comprehension.loop_cond, units);
    }
    if let Expr::Call(step) = &mut comprehension.loop_step.expr {
        match (step.func_name.as_str(), &mut step.args[..]) {
            (operators::CONDITIONAL, [guard, ..]) => return before(guard, units),
            (operators::ADD, [_, items]) => {
                if let Some(item) = appended(items) {
                    return before(item, units);
                }
            }
            _ => {}
        }
    }
    before(&mut comprehension.loop_cond, units);
}

fn appended(items: &mut Expression) -> Option<&mut Expression> {
    match &mut items.expr {
        Expr::List(list) => list.elements.first_mut(),
        _ => None,
    }
}

/// Makes `expression` into `@spend(@meter, units) ? expression : false`: it is evaluated once it is paid for.
fn before(expression: &mut Expression, units: u64) {
    let inner = std::mem::take(expression);
    let units = literal(LiteralValue::Int(i64::try_from(units).unwrap_or(i64::MAX).into()));
    let paid = function(SPEND, vec![variable(METER), units]);
    let refused = literal(LiteralValue::Boolean(false.into()));
    *expression = function(operators::CONDITIONAL, vec![paid, inner, refused]);
}

fn function(name: &str, args: Vec<Expression>) -> Expression {
    node(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    }))
}

fn variable(name: &str) -> Expression {
    node(Expr::Ident(name.to_owned()))
}

fn literal(value: LiteralValue) -> Expression {
    node(Expr::Literal(value))
}

const fn node(expr: Expr) -> Expression {
    Expression { id: 0, expr }
}

fn nothing() -> EntryExpr {
    EntryExpr::MapEntry(MapEntryExpr::default())
}

/// An error of the parser at its place, without the list of all that it would have taken.
pub(super) fn place_error(source: &str, (line, column): (isize, isize), what: &str) -> InvalidCondition {
    let lines = source.lines().count().max(1);
    let line = usize::try_from(line).unwrap_or_default();
    let known = (1..=lines).contains(&line);
    let what = what.strip_prefix("Syntax error: ").unwrap_or(what);
    let what = what.split(" expecting ").next().unwrap_or_default();
    InvalidCondition::At {
        line: if known { line } else { lines },
        column: usize::try_from(column).unwrap_or_default().max(1),
        what: match what {
            "mismatched input '<EOF>'" => "the expression ends too early".to_owned(),
            what if what.contains("Recursion limit") => too_deep(),
            what => what.to_owned(),
        },
    }
}

fn too_deep() -> String {
    format!("nested more than {} deep", limits::CONDITION_DEPTH)
}
