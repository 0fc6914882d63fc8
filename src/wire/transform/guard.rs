//! What is let through of a template, built anew with payments in it.

use std::collections::BTreeSet;

use minijinja::{
    Value,
    machinery::{
        Span,
        ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt},
    },
};

use super::{
    InvalidTransform,
    meter::{self, NUMBER, PAY},
};
use crate::domain::{facts, limits};

/// A template with its payments.
pub(super) struct Guarded<'a> {
    pub template: Stmt<'a>,
    pub reads_data: bool,
}

/// Checks a template and writes the payments into it.
pub(super) fn guard<'a>(template: &Stmt<'a>) -> Result<Guarded<'a>, InvalidTransform> {
    let mut guard = Guard {
        filters: meter::filters_offered()
            .into_iter()
            .map(|(name, _)| name)
            .collect(),
        tests: meter::tests_offered().into_iter().map(|(name, _)| name).collect(),
        names: facts::NAMES.into_iter().collect(),
        reads_data: false,
    };
    guard
        .names
        .extend(meter::functions_offered().map(|(name, _)| name));
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

impl<'a> Guard<'a> {
    fn body(&mut self, statements: &[Stmt<'a>], depth: usize) -> Checked<Vec<Stmt<'a>>> {
        statements
            .iter()
            .map(|each| self.statement(each, depth + 1))
            .collect()
    }

    fn statement(&mut self, statement: &Stmt<'a>, depth: usize) -> Checked<Stmt<'a>> {
        let span = span_of(statement);
        check_depth(depth, span)?;
        Ok(match statement {
            Stmt::Template(template) => {
                let children = self.body(&template.children, depth)?;
                Stmt::Template(Spanned::new(ast::Template { children }, span))
            }
            // Raw text goes the way of a value, so that it is paid for wherever it is written to.
            Stmt::EmitRaw(raw) => emit(constant(Value::from(raw.raw), span), span),
            Stmt::EmitExpr(inner) => emit(self.expression(&inner.expr, depth + 1)?, span),
            Stmt::ForLoop(looped) => self.for_loop(looped, depth)?,
            Stmt::IfCond(condition) => {
                let condition = ast::IfCond {
                    expr: self.expression(&condition.expr, depth + 1)?,
                    true_body: self.body(&condition.true_body, depth)?,
                    false_body: self.body(&condition.false_body, depth)?,
                };
                Stmt::IfCond(Spanned::new(condition, span))
            }
            Stmt::WithBlock(with) => {
                let assignments = with.assignments.iter();
                let assignments = assignments
                    .map(|(target, value)| Ok((target_of(target)?, self.expression(value, depth + 1)?)))
                    .collect::<Checked<_>>()?;
                let body = self.body(&with.body, depth)?;
                Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body }, span))
            }
            Stmt::Set(set) => {
                let (target, expr) = (target_of(&set.target)?, self.expression(&set.expr, depth + 1)?);
                Stmt::Set(Spanned::new(ast::Set { target, expr }, span))
            }
            Stmt::SetBlock(set) => {
                let filter = set
                    .filter
                    .as_ref()
                    .map(|filter| self.expression(filter, depth + 1));
                let set = ast::SetBlock {
                    target: target_of(&set.target)?,
                    filter: filter.transpose()?,
                    body: self.body(&set.body, depth)?,
                };
                Stmt::SetBlock(Spanned::new(set, span))
            }
            Stmt::FilterBlock(block) => {
                let filter = self.expression(&block.filter, depth + 1)?;
                let body = self.body(&block.body, depth)?;
                Stmt::FilterBlock(Spanned::new(ast::FilterBlock { filter, body }, span))
            }
            Stmt::Macro(declaration) => Stmt::Macro(self.declaration(declaration, depth)?),
            Stmt::CallBlock(block) => {
                let call = ast::CallBlock {
                    call: self.call(&block.call, depth + 1)?,
                    macro_decl: self.declaration(&block.macro_decl, depth)?,
                };
                Stmt::CallBlock(Spanned::new(call, span))
            }
            Stmt::Do(action) => {
                let call = self.call(&action.call, depth + 1)?;
                Stmt::Do(Spanned::new(ast::Do { call }, span))
            }
            Stmt::AutoEscape(_) => {
                return Err(at(
                    span,
                    "nothing is escaped by itself here; use the filter tojson",
                ));
            }
            Stmt::Block(_) | Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
                return Err(at(
                    span,
                    "there are no other templates and no blocks here; use a macro",
                ));
            }
        })
    }

    fn for_loop(&mut self, looped: &Spanned<ast::ForLoop<'a>>, depth: usize) -> Checked<Stmt<'a>> {
        let filter = looped
            .filter_expr
            .as_ref()
            .map(|filter| self.expression(filter, depth + 1));
        let guarded = ast::ForLoop {
            target: target_of(&looped.target)?,
            iter: self.paid(&looped.iter, depth + 1)?,
            filter_expr: filter.transpose()?,
            recursive: looped.recursive,
            body: self.body(&looped.body, depth)?,
            else_body: self.body(&looped.else_body, depth)?,
        };
        Ok(Stmt::ForLoop(Spanned::new(guarded, looped.span())))
    }

    fn declaration(
        &mut self,
        declaration: &Spanned<ast::Macro<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::Macro<'a>>> {
        let guarded = ast::Macro {
            name: declaration.name,
            args: declaration.args.iter().map(target_of).collect::<Checked<_>>()?,
            defaults: self.expressions(&declaration.defaults, depth + 1)?,
            body: self.body(&declaration.body, depth)?,
        };
        Ok(Spanned::new(guarded, declaration.span()))
    }

    fn expressions(&mut self, expressions: &[Expr<'a>], depth: usize) -> Checked<Vec<Expr<'a>>> {
        expressions
            .iter()
            .map(|each| self.expression(each, depth))
            .collect()
    }

    fn optional(&mut self, expression: Option<&Expr<'a>>, depth: usize) -> Checked<Option<Expr<'a>>> {
        expression
            .map(|expression| self.expression(expression, depth))
            .transpose()
    }

    /// An expression whose value is paid for.
    fn paid(&mut self, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        let span = expression.span();
        Ok(match self.expression(expression, depth)? {
            // No larger than the source, whose size is bounded.
            constant @ Expr::Const(_) => constant,
            other => function(PAY, other, span),
        })
    }

    fn expression(&mut self, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        let span = expression.span();
        check_depth(depth, span)?;
        let inner = depth + 1;
        Ok(match expression {
            Expr::Var(variable) => self.variable(variable.id, span)?,
            Expr::Const(value) => constant(value.value.clone(), span),
            Expr::Slice(slice) => {
                let slice = ast::Slice {
                    expr: self.paid(&slice.expr, inner)?,
                    start: self.optional(slice.start.as_ref(), inner)?,
                    stop: self.optional(slice.stop.as_ref(), inner)?,
                    step: self.optional(slice.step.as_ref(), inner)?,
                };
                function(PAY, Expr::Slice(Spanned::new(slice, span)), span)
            }
            Expr::UnaryOp(unary) => {
                #[expect(clippy::needless_match, reason = "it can be neither copied nor cloned")]
                let op = match unary.op {
                    ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
                    ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
                };
                let expr = self.expression(&unary.expr, inner)?;
                Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr }, span))
            }
            Expr::BinOp(binary) => self.binary(binary, inner)?,
            Expr::Compare(compare) => {
                let operands = compare.ops.iter();
                let ops = operands
                    .map(|operand| {
                        Ok(ast::CompareOp {
                            op: operand.op,
                            expr: self.paid(&operand.expr, inner)?,
                        })
                    })
                    .collect::<Checked<_>>()?;
                let expr = self.paid(&compare.expr, inner)?;
                Expr::Compare(Spanned::new(ast::Compare { expr, ops }, span))
            }
            Expr::IfExpr(choice) => {
                let choice = ast::IfExpr {
                    test_expr: self.expression(&choice.test_expr, inner)?,
                    true_expr: self.expression(&choice.true_expr, inner)?,
                    false_expr: self.optional(choice.false_expr.as_ref(), inner)?,
                };
                Expr::IfExpr(Spanned::new(choice, span))
            }
            Expr::Filter(filter) => {
                offered("filter", filter.name, &self.filters, span)?;
                let filter = ast::Filter {
                    name: filter.name,
                    expr: self.optional(filter.expr.as_ref(), inner)?,
                    args: self.arguments(&filter.args, span, inner)?,
                };
                Expr::Filter(Spanned::new(filter, span))
            }
            Expr::Test(test) => {
                offered("test", test.name, &self.tests, span)?;
                let test = ast::Test {
                    name: test.name,
                    expr: self.expression(&test.expr, inner)?,
                    args: self.arguments(&test.args, span, inner)?,
                };
                Expr::Test(Spanned::new(test, span))
            }
            Expr::GetAttr(member) => {
                let expr = self.expression(&member.expr, inner)?;
                Expr::GetAttr(Spanned::new(
                    ast::GetAttr {
                        expr,
                        name: member.name,
                    },
                    span,
                ))
            }
            Expr::GetItem(item) => {
                let item = ast::GetItem {
                    expr: self.expression(&item.expr, inner)?,
                    subscript_expr: self.expression(&item.subscript_expr, inner)?,
                };
                Expr::GetItem(Spanned::new(item, span))
            }
            Expr::Call(call) => Expr::Call(self.call(call, inner)?),
            Expr::List(list) => {
                let items = self.expressions(&list.items, inner)?;
                function(PAY, Expr::List(Spanned::new(ast::List { items }, span)), span)
            }
            Expr::Tuple(tuple) => {
                let items = self.expressions(&tuple.items, inner)?;
                function(PAY, Expr::Tuple(Spanned::new(ast::Tuple { items }, span)), span)
            }
            Expr::Map(map) => {
                let map = ast::Map {
                    keys: self.expressions(&map.keys, inner)?,
                    values: self.expressions(&map.values, inner)?,
                };
                function(PAY, Expr::Map(Spanned::new(map, span)), span)
            }
        })
    }

    fn variable(&mut self, name: &'a str, span: Span) -> Checked<Expr<'a>> {
        if !self.names.contains(name) {
            let known = facts::NAMES.join(", ");
            return Err(at(span, format!("there is no {name} here; use {known}")));
        }
        self.reads_data |= name == "data";
        Ok(variable(name, span))
    }

    fn binary(&mut self, binary: &Spanned<ast::BinOp<'a>>, depth: usize) -> Checked<Expr<'a>> {
        let span = binary.span();
        let (left, right) = match binary.op {
            // What comes of these is one of the operands.
            BinOpKind::ScAnd | BinOpKind::ScOr => (
                self.expression(&binary.left, depth)?,
                self.expression(&binary.right, depth)?,
            ),
            // Texts and lists could be multiplied as well.
            BinOpKind::Mul => {
                let number = |expression| function(NUMBER, expression, span);
                let left = self.expression(&binary.left, depth)?;
                (number(left), number(self.expression(&binary.right, depth)?))
            }
            BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte
            | BinOpKind::Add
            | BinOpKind::Sub
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow
            | BinOpKind::Concat
            | BinOpKind::In => (self.paid(&binary.left, depth)?, self.paid(&binary.right, depth)?),
        };
        let guarded = Expr::BinOp(Spanned::new(
            ast::BinOp {
                op: binary.op,
                left,
                right,
            },
            span,
        ));
        Ok(match binary.op {
            // Lists are added on demand; they are made at once.
            BinOpKind::Add => function(PAY, guarded, span),
            _ => guarded,
        })
    }

    fn call(&mut self, call: &Spanned<ast::Call<'a>>, depth: usize) -> Checked<Spanned<ast::Call<'a>>> {
        let guarded = ast::Call {
            expr: self.expression(&call.expr, depth)?,
            args: self.arguments(&call.args, call.span(), depth)?,
        };
        Ok(Spanned::new(guarded, call.span()))
    }

    fn arguments(&mut self, args: &[CallArg<'a>], span: Span, depth: usize) -> Checked<Vec<CallArg<'a>>> {
        let argument = |arg: &CallArg<'a>| {
            Ok(match arg {
                CallArg::Pos(value) => CallArg::Pos(self.expression(value, depth)?),
                CallArg::Kwarg(name, value) => CallArg::Kwarg(name, self.expression(value, depth)?),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return Err(at(span, "arguments cannot be spread with * or **"));
                }
            })
        };
        args.iter().map(argument).collect()
    }
}

fn offered(what: &str, name: &str, known: &BTreeSet<&'static str>, span: Span) -> Checked<()> {
    if known.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().copied().collect();
    Err(at(
        span,
        format!("there is no {what} {name} here; there are {}", known.join(", ")),
    ))
}

fn target_of<'a>(target: &Expr<'a>) -> Checked<Expr<'a>> {
    let span = target.span();
    let items = |items: &[Expr<'a>]| items.iter().map(target_of).collect::<Checked<Vec<_>>>();
    Ok(match target {
        Expr::Var(name) => variable(name.id, span),
        Expr::List(list) => Expr::List(Spanned::new(
            ast::List {
                items: items(&list.items)?,
            },
            span,
        )),
        Expr::Tuple(tuple) => Expr::Tuple(Spanned::new(
            ast::Tuple {
                items: items(&tuple.items)?,
            },
            span,
        )),
        other => return Err(at(other.span(), "a value can be given to a name only")),
    })
}

fn emit(expr: Expr<'_>, span: Span) -> Stmt<'_> {
    Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, span))
}

fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

fn variable(id: &str, span: Span) -> Expr<'_> {
    Expr::Var(Spanned::new(ast::Var { id }, span))
}

fn function<'a>(name: &'static str, argument: Expr<'a>, span: Span) -> Expr<'a> {
    let call = ast::Call {
        expr: variable(name, span),
        args: vec![CallArg::Pos(argument)],
    };
    Expr::Call(Spanned::new(call, span))
}
