//! How large a query is, found out in linear time before anything else looks at it.
//!
//! Whatever checks a query afterwards (its depth, its complexity, its rules) follows each fragment
//! wherever it is spread. A few lines in which each fragment spreads the next one twice are then
//! more work than any machine does. Here each fragment is looked at once, and what it comes to is
//! remembered.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

/// The longest text that is parsed, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 16_384;

/// How many `{`, `[` and `(` a query may have, in comments and texts too. The parser calls itself
/// for each level of nesting, and there are no more levels than brackets.
const BRACKETS_MAX: usize = 200;

/// How many fields and fragments a query may select, once its fragments are written out where they
/// are spread. The introspection query of tools has some two hundred.
const SELECTIONS_MAX: usize = 1_000;

/// Why a query is not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("Query is too long: send at most {TEXT_BYTES_MAX} bytes, and values as variables.")]
    TooLong,
    #[error("Query has too many brackets: send at most {BRACKETS_MAX}, and values as variables.")]
    TooManyBrackets,
    #[error(
        "Query selects too much: with its fragments written out, at most {SELECTIONS_MAX} fields. \
         Ask in several queries."
    )]
    SelectsTooMuch,
    #[error("{0}")]
    Unreadable(String),
}

/// The query, parsed, if it is small enough to be looked at more closely.
pub(super) fn parse(query: &str) -> Result<ExecutableDocument, Refused> {
    if query.len() > TEXT_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let brackets = query.bytes().filter(|byte| matches!(byte, b'{' | b'[' | b'('));
    if brackets.count() > BRACKETS_MAX {
        return Err(Refused::TooManyBrackets);
    }
    let document = parse_query(query).map_err(|error| Refused::Unreadable(error.to_string()))?;
    let mut fragments = Fragments { document: &document, sizes: HashMap::new() };
    let operations = document.operations.iter();
    let size = operations.fold(0, |size: usize, (_name, operation)| {
        size.saturating_add(fragments.selections(&operation.node.selection_set.node))
    });
    if size > SELECTIONS_MAX { Err(Refused::SelectsTooMuch) } else { Ok(document) }
}

/// What each fragment comes to.
struct Fragments<'a> {
    document: &'a ExecutableDocument,
    sizes: HashMap<&'a Name, usize>,
}

impl<'a> Fragments<'a> {
    /// How much a set selects, with everything below it.
    fn selections(&mut self, set: &'a SelectionSet) -> usize {
        set.items.iter().fold(0, |size: usize, selection| {
            let below = match &selection.node {
                Selection::Field(field) => self.selections(&field.node.selection_set.node),
                Selection::InlineFragment(part) => self.selections(&part.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            };
            size.saturating_add(below).saturating_add(1)
        })
    }

    fn fragment(&mut self, name: &'a Name) -> usize {
        if let Some(size) = self.sizes.get(name) {
            return *size;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        // One that spreads itself, directly or not, has no end.
        self.sizes.insert(name, usize::MAX);
        let size = self.selections(&fragment.node.selection_set.node);
        self.sizes.insert(name, size);
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> Option<Refused> {
        parse(query).err()
    }

    /// Fragments of which each spreads the next one twice.
    fn doubling(levels: usize) -> String {
        let fragment = |level: usize| {
            let next = level.saturating_add(1);
            format!("fragment f{level} on Query {{ ...f{next} ...f{next} }} ")
        };
        let fragments: String = (0..levels).map(fragment).collect();
        format!("{{ ...f0 }} {fragments} fragment f{levels} on Query {{ __typename }}")
    }

    #[test]
    fn fragments_that_double_are_refused_at_any_depth() {
        assert_eq!(refused(&doubling(5)), None);
        for levels in [10, 25, 64, 150] {
            assert_eq!(refused(&doubling(levels)), Some(Refused::SelectsTooMuch), "{levels}");
        }
        // Nothing but spreads: there is no field to count.
        let empty = doubling(30).replace("__typename", "...nowhere");
        assert_eq!(refused(&empty), Some(Refused::SelectsTooMuch));
    }

    #[test]
    fn a_fragment_that_spreads_itself_is_refused() {
        for round in [
            "{ ...a } fragment a on Query { ...a }",
            "{ ...a } fragment a on Query { ...b } fragment b on Query { x { ...a } }",
            "{ ... on Query { ...a } } fragment a on Query { ... { ...a ...a } }",
        ] {
            assert_eq!(refused(round), Some(Refused::SelectsTooMuch), "{round}");
        }
    }

    #[test]
    fn what_is_nested_without_end_is_refused_before_it_is_parsed() {
        for (open, close) in [("{a", "}"), ("{a(b:[", "])}"), ("{a(b:{c:", "})}")] {
            let nested = format!("{}{}", open.repeat(2_000), close.repeat(2_000));
            assert!(
                matches!(refused(&nested), Some(Refused::TooManyBrackets | Refused::TooLong)),
                "{open}"
            );
        }
        let lists = format!("{{ a(b: {}) }}", "[".repeat(10_000));
        assert_eq!(refused(&lists), Some(Refused::TooManyBrackets));
        // The deepest that is let through does not exhaust the stack.
        let most = BRACKETS_MAX.saturating_sub(2);
        let lists = format!("{{ a(b: {}{}) }}", "[".repeat(most), "]".repeat(most));
        assert_eq!(refused(&lists), None);
        assert_eq!(refused(&" ".repeat(20_000)), Some(Refused::TooLong));
    }
}
