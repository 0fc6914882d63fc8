//! Statements: what is assigned, repeated and written.

use minijinja::{
    Value,
    machinery::ast::{self, Expr, Spanned, Stmt},
};

use super::{
    Checked, Guard, at, check_depth,
    expressions::{constant, variable},
    span_of,
};

impl<'a> Guard<'a> {
    fn body(&mut self, statements: &[Stmt<'a>], depth: usize) -> Checked<Vec<Stmt<'a>>> {
        statements
            .iter()
            .map(|each| self.statement(each, depth + 1))
            .collect()
    }

    pub(super) fn statement(&mut self, statement: &Stmt<'a>, depth: usize) -> Checked<Stmt<'a>> {
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
            Stmt::ForLoop(looped) => Stmt::ForLoop(self.for_loop(looped, depth)?),
            Stmt::IfCond(condition) => Stmt::IfCond(self.condition(condition, depth)?),
            Stmt::WithBlock(with) => Stmt::WithBlock(self.with(with, depth)?),
            Stmt::Set(set) => {
                let (target, expr) = (target_of(&set.target)?, self.expression(&set.expr, depth + 1)?);
                Stmt::Set(Spanned::new(ast::Set { target, expr }, span))
            }
            Stmt::SetBlock(set) => Stmt::SetBlock(self.captured(set, depth)?),
            Stmt::FilterBlock(block) => {
                let filter = self.expression(&block.filter, depth + 1)?;
                let body = self.body(&block.body, depth)?;
                Stmt::FilterBlock(Spanned::new(ast::FilterBlock { filter, body }, span))
            }
            Stmt::Macro(declaration) => Stmt::Macro(self.declaration(declaration, depth)?),
            Stmt::CallBlock(block) => {
                let call = self.call(&block.call, depth + 1)?;
                let macro_decl = self.declaration(&block.macro_decl, depth)?;
                Stmt::CallBlock(Spanned::new(ast::CallBlock { call, macro_decl }, span))
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

    fn condition(
        &mut self,
        condition: &Spanned<ast::IfCond<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::IfCond<'a>>> {
        let guarded = ast::IfCond {
            expr: self.expression(&condition.expr, depth + 1)?,
            true_body: self.body(&condition.true_body, depth)?,
            false_body: self.body(&condition.false_body, depth)?,
        };
        Ok(Spanned::new(guarded, condition.span()))
    }

    fn with(
        &mut self,
        with: &Spanned<ast::WithBlock<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::WithBlock<'a>>> {
        let assignments = with.assignments.iter();
        let assignments = assignments
            .map(|(target, value)| Ok((target_of(target)?, self.expression(value, depth + 1)?)))
            .collect::<Checked<_>>()?;
        let body = self.body(&with.body, depth)?;
        Ok(Spanned::new(ast::WithBlock { assignments, body }, with.span()))
    }

    fn captured(
        &mut self,
        set: &Spanned<ast::SetBlock<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::SetBlock<'a>>> {
        let guarded = ast::SetBlock {
            target: target_of(&set.target)?,
            filter: self.optional(set.filter.as_ref(), depth + 1)?,
            body: self.body(&set.body, depth)?,
        };
        Ok(Spanned::new(guarded, set.span()))
    }

    fn for_loop(
        &mut self,
        looped: &Spanned<ast::ForLoop<'a>>,
        depth: usize,
    ) -> Checked<Spanned<ast::ForLoop<'a>>> {
        let guarded = ast::ForLoop {
            target: target_of(&looped.target)?,
            iter: self.paid(&looped.iter, depth + 1)?,
            filter_expr: self.optional(looped.filter_expr.as_ref(), depth + 1)?,
            recursive: looped.recursive,
            body: self.body(&looped.body, depth)?,
            else_body: self.body(&looped.else_body, depth)?,
        };
        Ok(Spanned::new(guarded, looped.span()))
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

fn emit(expr: Expr<'_>, span: minijinja::machinery::Span) -> Stmt<'_> {
    Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, span))
}
