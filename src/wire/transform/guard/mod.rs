//! What is let through of a template, built anew with payments in it.

mod expressions;
mod statements;

use std::collections::BTreeSet;

use minijinja::machinery::{
    Span,
    ast::{Expr, Stmt},
};

use super::{InvalidTransform, offered};
use crate::domain::{facts, limits};

/// A template with its payments.
pub(super) struct Guarded<'a> {
    pub template: Stmt<'a>,
    pub reads_data: bool,
}

/// Checks a template and writes the payments into it.
pub(super) fn guard<'a>(template: &Stmt<'a>) -> Result<Guarded<'a>, InvalidTransform> {
    let mut guard = Guard {
        filters: offered::filters_offered()
            .into_iter()
            .map(|(name, ..)| name)
            .collect(),
        tests: offered::tests_offered()
            .into_iter()
            .map(|(name, ..)| name)
            .collect(),
        names: facts::NAMES.into_iter().collect(),
        reads_data: false,
    };
    guard
        .names
        .extend(offered::functions_offered().map(|(name, ..)| name));
    guard.names.extend(["loop", "caller"]);
    declared(template, &mut guard.names, 0)?;
    let template = guard.statement(template, 0)?;
    Ok(Guarded {
        template,
        reads_data: guard.reads_data,
    })
}

struct Guard<'a> {
    filters: BTreeSet<&'static str>,
    tests: BTreeSet<&'static str>,
    /// What is there to be named: the event's names, functions, and what the template itself declares, anywhere.
    names: BTreeSet<&'a str>,
    reads_data: bool,
}

type Checked<T> = Result<T, InvalidTransform>;

fn at(span: Span, what: impl Into<String>) -> InvalidTransform {
    InvalidTransform::At {
        line: usize::from(span.start_line).max(1),
        what: what.into(),
    }
}

fn check_depth(depth: usize, span: Span) -> Checked<()> {
    if depth < limits::TRANSFORM_DEPTH {
        return Ok(());
    }
    Err(at(
        span,
        format!("nested more than {} deep", limits::TRANSFORM_DEPTH),
    ))
}

/// Notes every name that a template gives to something.
fn declared<'a>(statement: &Stmt<'a>, names: &mut BTreeSet<&'a str>, depth: usize) -> Checked<()> {
    check_depth(depth, span_of(statement))?;
    let bodies: [&[Stmt<'a>]; 2] = match statement {
        Stmt::Template(template) => [&template.children, &[]],
        Stmt::ForLoop(looped) => {
            assigned(&looped.target, names, depth)?;
            [&looped.body, &looped.else_body]
        }
        Stmt::IfCond(condition) => [&condition.true_body, &condition.false_body],
        Stmt::WithBlock(with) => {
            for (target, _) in &with.assignments {
                assigned(target, names, depth)?;
            }
            [&with.body, &[]]
        }
        Stmt::Set(set) => {
            assigned(&set.target, names, depth)?;
            [&[], &[]]
        }
        Stmt::SetBlock(set) => {
            assigned(&set.target, names, depth)?;
            [&set.body, &[]]
        }
        Stmt::FilterBlock(filter) => [&filter.body, &[]],
        Stmt::Macro(declaration) => {
            names.insert(declaration.name);
            for argument in &declaration.args {
                assigned(argument, names, depth)?;
            }
            [&declaration.body, &[]]
        }
        Stmt::CallBlock(call) => {
            for argument in &call.macro_decl.args {
                assigned(argument, names, depth)?;
            }
            [&call.macro_decl.body, &[]]
        }
        _ => [&[], &[]],
    };
    bodies
        .into_iter()
        .flatten()
        .try_for_each(|inner| declared(inner, names, depth + 1))
}

fn assigned<'a>(target: &Expr<'a>, names: &mut BTreeSet<&'a str>, depth: usize) -> Checked<()> {
    check_depth(depth, target.span())?;
    match target {
        Expr::Var(variable) => {
            names.insert(variable.id);
            Ok(())
        }
        Expr::List(list) => list
            .items
            .iter()
            .try_for_each(|item| assigned(item, names, depth + 1)),
        Expr::Tuple(tuple) => tuple
            .items
            .iter()
            .try_for_each(|item| assigned(item, names, depth + 1)),
        other => Err(at(other.span(), "a value can be given to a name only")),
    }
}

fn span_of(statement: &Stmt<'_>) -> Span {
    match statement {
        Stmt::Template(inner) => inner.span(),
        Stmt::EmitExpr(inner) => inner.span(),
        Stmt::EmitRaw(inner) => inner.span(),
        Stmt::ForLoop(inner) => inner.span(),
        Stmt::IfCond(inner) => inner.span(),
        Stmt::WithBlock(inner) => inner.span(),
        Stmt::Set(inner) => inner.span(),
        Stmt::SetBlock(inner) => inner.span(),
        Stmt::AutoEscape(inner) => inner.span(),
        Stmt::FilterBlock(inner) => inner.span(),
        Stmt::Block(inner) => inner.span(),
        Stmt::Import(inner) => inner.span(),
        Stmt::FromImport(inner) => inner.span(),
        Stmt::Extends(inner) => inner.span(),
        Stmt::Include(inner) => inner.span(),
        Stmt::Macro(inner) => inner.span(),
        Stmt::CallBlock(inner) => inner.span(),
        Stmt::Do(inner) => inner.span(),
    }
}
