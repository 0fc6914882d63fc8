//! Expressions: what is looked at pays first.

use minijinja::{
    Value,
    machinery::{
        Span,
        ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Spanned},
    },
};

use super::{
    super::{
        compare,
        meter::{COMPARE, NUMBER, OPERAND, PAY, TEXT},
    },
    Checked, Guard, at, check_depth,
};
use crate::domain::facts;

impl<'a> Guard<'a> {
    pub(super) fn expressions(&mut self, expressions: &[Expr<'a>], depth: usize) -> Checked<Vec<Expr<'a>>> {
        expressions
            .iter()
            .map(|each| self.expression(each, depth))
            .collect()
    }

    pub(super) fn optional(
        &mut self,
        expression: Option<&Expr<'a>>,
        depth: usize,
    ) -> Checked<Option<Expr<'a>>> {
        expression
            .map(|expression| self.expression(expression, depth))
            .transpose()
    }

    /// An expression whose value is paid for.
    pub(super) fn paid(&mut self, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        self.paid_by(PAY, expression, depth)
    }

    /// An expression whose value is paid for by one of our functions.
    fn paid_by(&mut self, by: &'static str, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        let span = expression.span();
        Ok(match self.expression(expression, depth)? {
            // No larger than the source, whose size is bounded.
            constant @ Expr::Const(_) => constant,
            other => function(by, other, span),
        })
    }

    fn operand(&mut self, expression: Option<&Expr<'a>>, depth: usize) -> Checked<Option<Expr<'a>>> {
        expression
            .map(|expression| self.paid_by(OPERAND, expression, depth))
            .transpose()
    }

    pub(super) fn expression(&mut self, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        let span = expression.span();
        check_depth(depth, span)?;
        let inner = depth + 1;
        Ok(match expression {
            Expr::Var(variable) => self.variable(variable.id, span)?,
            Expr::Const(value) => constant(value.value.clone(), span),
            Expr::UnaryOp(unary) => Expr::UnaryOp(self.unary(unary, inner)?),
            Expr::BinOp(binary) => self.binary(binary, inner)?,
            Expr::Compare(compare) => self.compare(compare, inner)?,
            Expr::IfExpr(choice) => {
                let choice = ast::IfExpr {
                    test_expr: self.expression(&choice.test_expr, inner)?,
                    true_expr: self.expression(&choice.true_expr, inner)?,
                    false_expr: self.optional(choice.false_expr.as_ref(), inner)?,
                };
                Expr::IfExpr(Spanned::new(choice, span))
            }
            Expr::Filter(filter) => Expr::Filter(self.filter(filter, inner)?),
            Expr::Test(test) => Expr::Test(self.test(test, inner)?),
            Expr::GetAttr(member) => {
                let (expr, name) = (self.expression(&member.expr, inner)?, member.name);
                Expr::GetAttr(Spanned::new(ast::GetAttr { expr, name }, span))
            }
            Expr::GetItem(item) => {
                let item = ast::GetItem {
                    expr: self.expression(&item.expr, inner)?,
                    subscript_expr: self.paid_by(OPERAND, &item.subscript_expr, inner)?,
                };
                Expr::GetItem(Spanned::new(item, span))
            }
            Expr::Call(call) => Expr::Call(self.call(call, inner)?),
            // What is made anew is paid for when it is there: as large as it is, and no deeper than is allowed.
            Expr::Slice(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
                function(PAY, self.made(expression, inner)?, span)
            }
        })
    }

    fn made(&mut self, expression: &Expr<'a>, depth: usize) -> Checked<Expr<'a>> {
        let span = expression.span();
        Ok(match expression {
            Expr::Slice(slice) => {
                let slice = ast::Slice {
                    expr: self.paid(&slice.expr, depth)?,
                    start: self.operand(slice.start.as_ref(), depth)?,
                    stop: self.operand(slice.stop.as_ref(), depth)?,
                    step: self.operand(slice.step.as_ref(), depth)?,
                };
                Expr::Slice(Spanned::new(slice, span))
            }
            Expr::List(list) => {
                let items = self.expressions(&list.items, depth)?;
                Expr::List(Spanned::new(ast::List { items }, span))
            }
            Expr::Tuple(tuple) => {
                let items = self.expressions(&tuple.items, depth)?;
                Expr::Tuple(Spanned::new(ast::Tuple { items }, span))
            }
            Expr::Map(map) => {
                let keys = map.keys.iter().map(|key| self.paid_by(OPERAND, key, depth));
                let keys = keys.collect::<Checked<_>>()?;
                let values = self.expressions(&map.values, depth)?;
                Expr::Map(Spanned::new(ast::Map { keys, values }, span))
            }
            other => self.expression(other, depth)?,
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

    fn unary(
        &mut self,
        unary: &Spanned<ast::UnaryOp<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::UnaryOp<'a>>> {
        #[expect(clippy::needless_match, reason = "the library's own cannot be copied")]
        let op = match unary.op {
            ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
            ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
        };
        let expr = match op {
            ast::UnaryOpKind::Not => self.expression(&unary.expr, depth)?,
            ast::UnaryOpKind::Neg => self.paid_by(OPERAND, &unary.expr, depth)?,
        };
        Ok(Spanned::new(ast::UnaryOp { op, expr }, unary.span()))
    }

    /// A comparison, by a function of ours: the engine's own does not know all numbers.
    fn compare(&mut self, compare: &Spanned<ast::Compare<'a>>, depth: usize) -> Checked<Expr<'a>> {
        let span = compare.span();
        let mut terms = vec![self.paid_by(TEXT, &compare.expr, depth)?];
        for operand in &compare.ops {
            terms.push(operator(operand.op, span));
            terms.push(self.paid_by(TEXT, &operand.expr, depth)?);
        }
        Ok(call(COMPARE, terms, span))
    }

    fn filter(
        &mut self,
        filter: &Spanned<ast::Filter<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::Filter<'a>>> {
        let span = filter.span();
        self.check_offered("filter", filter.name, span)?;
        let guarded = ast::Filter {
            name: filter.name,
            expr: self.optional(filter.expr.as_ref(), depth)?,
            args: self.arguments(&filter.args, span, depth)?,
        };
        Ok(Spanned::new(guarded, span))
    }

    fn test(&mut self, test: &Spanned<ast::Test<'a>>, depth: usize) -> Checked<Spanned<ast::Test<'a>>> {
        let span = test.span();
        self.check_offered("test", test.name, span)?;
        let guarded = ast::Test {
            name: test.name,
            expr: self.expression(&test.expr, depth)?,
            args: self.arguments(&test.args, span, depth)?,
        };
        Ok(Spanned::new(guarded, span))
    }

    fn check_offered(&self, what: &str, name: &str, span: Span) -> Checked<()> {
        let known = if what == "filter" {
            &self.filters
        } else {
            &self.tests
        };
        if known.contains(name) {
            return Ok(());
        }
        let known: Vec<&str> = known.iter().copied().collect();
        Err(at(
            span,
            format!("there is no {what} {name} here; there are {}", known.join(", ")),
        ))
    }

    fn binary(&mut self, binary: &Spanned<ast::BinOp<'a>>, depth: usize) -> Checked<Expr<'a>> {
        let span = binary.span();
        if let Some(compared) = comparison(binary.op) {
            let left = self.paid_by(TEXT, &binary.left, depth)?;
            let right = self.paid_by(TEXT, &binary.right, depth)?;
            return Ok(call(COMPARE, vec![left, operator(compared, span), right], span));
        }
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
            BinOpKind::Concat => (
                self.paid_by(TEXT, &binary.left, depth)?,
                self.paid_by(TEXT, &binary.right, depth)?,
            ),
            _ => (
                self.paid_by(OPERAND, &binary.left, depth)?,
                self.paid_by(OPERAND, &binary.right, depth)?,
            ),
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

    pub(super) fn call(
        &mut self,
        call: &Spanned<ast::Call<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::Call<'a>>> {
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

pub(super) fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

pub(super) fn variable(id: &str, span: Span) -> Expr<'_> {
    Expr::Var(Spanned::new(ast::Var { id }, span))
}

/// The comparison that a binary operator is, if it is one.
const fn comparison(operator: BinOpKind) -> Option<CompareOpKind> {
    Some(match operator {
        BinOpKind::Eq => CompareOpKind::Eq,
        BinOpKind::Ne => CompareOpKind::Ne,
        BinOpKind::Lt => CompareOpKind::Lt,
        BinOpKind::Lte => CompareOpKind::Lte,
        BinOpKind::Gt => CompareOpKind::Gt,
        BinOpKind::Gte => CompareOpKind::Gte,
        BinOpKind::In => CompareOpKind::In,
        BinOpKind::ScAnd
        | BinOpKind::ScOr
        | BinOpKind::Add
        | BinOpKind::Sub
        | BinOpKind::Mul
        | BinOpKind::Div
        | BinOpKind::FloorDiv
        | BinOpKind::Rem
        | BinOpKind::Pow
        | BinOpKind::Concat => return None,
    })
}

fn operator<'a>(operator: CompareOpKind, span: Span) -> Expr<'a> {
    constant(Value::from(compare::word(operator)), span)
}

fn function<'a>(name: &'static str, argument: Expr<'a>, span: Span) -> Expr<'a> {
    call(name, vec![argument], span)
}

fn call<'a>(name: &'static str, arguments: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let call = ast::Call {
        expr: variable(name, span),
        args: arguments.into_iter().map(CallArg::Pos).collect(),
    };
    Expr::Call(Spanned::new(call, span))
}
