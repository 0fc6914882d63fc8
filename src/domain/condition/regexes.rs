//! Regular expressions: compiled when the condition is saved, searched for a price.
//!
//! The syntax is that of RE2, as CEL has it: `\d`, `\w`, `\s` and `\b` are about ASCII, the dot and other classes about
//! Unicode. The search is a lazy DFA and nothing else: it is linear in the text, and where its states explode it gives
//! up, which is a condition that is too costly, instead of going on by slower means.

use std::{any::Any, sync::Arc};

use cel::{
    Context, ExecutionError,
    common::{
        types::{CelBool, CelString, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use regex_automata::{
    Input,
    hybrid::dfa::{self, DFA},
    nfa::thompson::{self, WhichCaptures},
};
use regex_syntax::{ast, hir::translate::TranslatorBuilder};

use super::{
    env::{broke, budget},
    values::HalfText,
};
use crate::domain::limits;

/// `@search(@meter, @regexN, text)`.
pub(super) const SEARCH: &str = "@search";

/// Units that any search costs: its first states are built anew.
const SEARCH_UNITS: u64 = 50;
/// Bytes of the search's memory that a unit pays for: building a state takes some microseconds.
const BYTES_PER_UNIT: usize = 16;
/// The search gives up once its cache was full so often.
const CACHES: usize = 4;

static REGEX_TYPE: Type = Type::new_unspecified_type("@regex");

/// The patterns of one condition, by their order in it.
#[derive(Debug, Default)]
pub(super) struct Regexes(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern(Arc<DFA>);

impl Regexes {
    /// Adds a pattern; answers the name of the variable that holds it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn add(&mut self, pattern: &str) -> Result<String, String> {
        if self.0.len() >= limits::CONDITION_REGEXES {
            let most = limits::CONDITION_REGEXES;
            return Err(format!("there are more than {most} patterns in the condition"));
        }
        self.0.push(Pattern(Arc::new(compile(pattern)?)));
        Ok(variable(self.0.len() - 1))
    }

    pub fn bind(&self, context: &mut Context<'_, '_>) {
        for (pattern, at) in self.0.iter().zip(0..) {
            context.add_variable_as_val(variable(at), Box::new(pattern.clone()));
        }
    }
}

fn variable(at: usize) -> String {
    format!("@regex{at}")
}

fn compile(pattern: &str) -> Result<DFA, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("not a regular expression: {what}");
    let too_large =
        || "the pattern is too large when compiled; use smaller repetitions and classes".to_owned();
    let mut parser = ast::parse::ParserBuilder::new()
        .nest_limit(limits::CONDITION_REGEX_DEPTH)
        .build();
    let mut tree = parser.parse(pattern).map_err(|error| wrong(error.kind()))?;
    as_ascii(&mut tree);
    let hir = TranslatorBuilder::new()
        .utf8(false)
        .build()
        .translate(pattern, &tree)
        .map_err(|error| wrong(error.kind()))?;
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(limits::CONDITION_REGEX_BYTES)),
        )
        .build_from_hir(&hir)
        .map_err(|_| too_large())?;
    dfa::Builder::new()
        .configure(
            dfa::Config::new()
                .cache_capacity(limits::CONDITION_REGEX_CACHE)
                .minimum_cache_clear_count(Some(CACHES)),
        )
        .build_from_nfa(nfa)
        .map_err(|_| too_large())
}

/// Makes the classes of Perl, and word boundaries, those of ASCII.
fn as_ascii(tree: &mut ast::Ast) {
    match tree {
        ast::Ast::ClassPerl(class) => {
            *tree = ast::Ast::class_bracketed(ast::ClassBracketed {
                span: class.span,
                negated: false,
                kind: ast::ClassSet::Item(ascii_item(class)),
            });
        }
        ast::Ast::Assertion(assertion) => {
            let (span, inner) = (assertion.span, ast::Ast::assertion((**assertion).clone()));
            *tree = ast::Ast::group(ast::Group {
                span,
                kind: ast::GroupKind::NonCapturing(without_unicode(span)),
                ast: Box::new(inner),
            });
        }
        ast::Ast::ClassBracketed(class) => set_as_ascii(&mut class.kind),
        ast::Ast::Repetition(repetition) => as_ascii(&mut repetition.ast),
        ast::Ast::Group(group) => as_ascii(&mut group.ast),
        ast::Ast::Alternation(alternation) => alternation.asts.iter_mut().for_each(as_ascii),
        ast::Ast::Concat(concat) => concat.asts.iter_mut().for_each(as_ascii),
        ast::Ast::Empty(_)
        | ast::Ast::Flags(_)
        | ast::Ast::Literal(_)
        | ast::Ast::Dot(_)
        | ast::Ast::ClassUnicode(_) => {}
    }
}

fn set_as_ascii(set: &mut ast::ClassSet) {
    match set {
        ast::ClassSet::Item(item) => item_as_ascii(item),
        ast::ClassSet::BinaryOp(operation) => {
            set_as_ascii(&mut operation.lhs);
            set_as_ascii(&mut operation.rhs);
        }
    }
}

fn item_as_ascii(item: &mut ast::ClassSetItem) {
    match item {
        ast::ClassSetItem::Perl(class) => *item = ascii_item(class),
        ast::ClassSetItem::Bracketed(class) => set_as_ascii(&mut class.kind),
        ast::ClassSetItem::Union(union) => union.items.iter_mut().for_each(item_as_ascii),
        ast::ClassSetItem::Empty(_)
        | ast::ClassSetItem::Literal(_)
        | ast::ClassSetItem::Range(_)
        | ast::ClassSetItem::Ascii(_)
        | ast::ClassSetItem::Unicode(_) => {}
    }
}

const fn ascii_item(class: &ast::ClassPerl) -> ast::ClassSetItem {
    ast::ClassSetItem::Ascii(ast::ClassAscii {
        span: class.span,
        kind: match class.kind {
            ast::ClassPerlKind::Digit => ast::ClassAsciiKind::Digit,
            ast::ClassPerlKind::Space => ast::ClassAsciiKind::Space,
            ast::ClassPerlKind::Word => ast::ClassAsciiKind::Word,
        },
        negated: class.negated,
    })
}

/// The flags `-u`.
fn without_unicode(span: ast::Span) -> ast::Flags {
    let item = |kind| ast::FlagsItem { span, kind };
    ast::Flags {
        span,
        items: vec![
            item(ast::FlagsItemKind::Negation),
            item(ast::FlagsItemKind::Flag(ast::Flag::Unicode)),
        ],
    }
}

pub(super) fn search<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [meter, pattern, text] = &args[..] else {
        return Err(broke());
    };
    let Pattern(dfa) = pattern.downcast_ref::<Pattern>().ok_or_else(broke)?;
    if text.downcast_ref::<HalfText>().is_some() {
        return Err(HalfText::error());
    }
    let Some(text) = text.downcast_ref::<CelString>() else {
        let given = vec![text.get_type().name().to_owned(), "string".to_owned()];
        return Err(ExecutionError::no_such_member_overload("matches", given));
    };
    let budget = budget(meter.as_ref())?;
    budget.charge(SEARCH_UNITS).map_err(|_| broke())?;
    // Every byte is a step of the automaton, which is slower than a copy.
    budget.charge_text(text.inner().len() * 2).map_err(|_| broke())?;
    let mut cache = dfa.create_cache();
    let found = dfa.try_search_fwd(&mut cache, &Input::new(text.inner()).earliest(true));
    let built = cache.clear_count() * limits::CONDITION_REGEX_CACHE + cache.memory_usage();
    let paid = budget.charge((built / BYTES_PER_UNIT) as u64);
    match (found, paid) {
        (Ok(found), Ok(())) => Ok(CowVal::owned(CelBool::from(found.is_some()))),
        (Err(_), _) => {
            // It gave up: that is too costly, whatever is left.
            _ = budget.charge(u64::MAX);
            Err(broke())
        }
        (Ok(_), Err(_)) => Err(broke()),
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &REGEX_TYPE
    }

    fn cel_type() -> &'static Type {
        &REGEX_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
