//! Limits the size of a query in linear time, before any other validation.
//!
//! The later checks (depth, complexity, validation rules) follow each fragment wherever it is
//! spread. A few lines in which each fragment spreads the next one twice take exponential time
//! there. Here each fragment is visited once, and its size is memoised.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

/// The maximum length of a query, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 16_384;

/// The maximum number of `{`, `[` and `(` in a query, including those in comments and strings. The
/// parser recurses for each level of nesting, and there are no more levels than brackets.
const BRACKETS_MAX: usize = 200;

/// The maximum number of selected fields and fragments, with fragments expanded where they are
/// spread. The introspection query of tools has about two hundred.
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

/// Parses the query, if it is within the limits.
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

/// The sizes of the fragments.
struct Fragments<'a> {
    document: &'a ExecutableDocument,
    sizes: HashMap<&'a Name, usize>,
}

impl<'a> Fragments<'a> {
    /// The number of selections in a set, including nested ones.
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
        // A fragment that spreads itself, directly or indirectly, has infinite size.
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

    /// A chain of fragments, each of which spreads the next one twice.
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
        // Only spreads: there is no field to count.
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
        // The deepest accepted query does not overflow the stack.
        let most = BRACKETS_MAX.saturating_sub(2);
        let lists = format!("{{ a(b: {}{}) }}", "[".repeat(most), "]".repeat(most));
        assert_eq!(refused(&lists), None);
        assert_eq!(refused(&" ".repeat(20_000)), Some(Refused::TooLong));
    }
}
