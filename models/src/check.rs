//! Exhaustive checking of a model: every reachable state is visited.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// The result of an exhaustive search.
#[derive(Debug)]
pub struct Findings {
    /// The number of different states.
    pub states: usize,
    /// The length of the longest of all shortest paths to a state.
    pub depth: usize,
    /// The broken promises, each with the steps that break it.
    pub broken: BTreeMap<&'static str, Vec<String>>,
    /// Situations that should be reachable but are not: a model without them proves nothing.
    pub never: Vec<&'static str>,
}

/// Visits every state of the model and checks every promise in each.
#[must_use]
pub fn search<M>(model: M) -> Findings
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().spawn_bfs().join();
    let mut ways: BTreeMap<_, _> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, steps(path.into_actions())))
        .collect();
    let mut never = Vec::new();
    for property in checker.model().properties() {
        if property.expectation == Expectation::Sometimes && ways.remove(property.name).is_none() {
            never.push(property.name);
        }
    }
    Findings {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: ways,
        never,
    }
}

/// Searches breadth-first for a way to break one promise; returns the steps of the first one found.
#[must_use]
pub fn counterexample<M>(model: M, promise: &'static str) -> Option<Vec<String>>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    checker.discovery(promise).map(|path| steps(path.into_actions()))
}

/// Whether the state graph has no cycle.
///
/// What is promised to happen *eventually* is checked at the ends of all paths. Without a cycle,
/// every path has an end.
#[must_use]
pub fn is_acyclic<M>(model: &M) -> bool
where
    M: Model,
    M::State: Clone + Eq + Hash,
{
    // The value says whether the state is on the current path.
    let mut seen = HashMap::new();
    let mut way = Vec::new();
    for state in model.init_states() {
        way.push((state.clone(), model.next_states(&state)));
        seen.insert(state, true);
        while let Some((state, next)) = way.last_mut() {
            let Some(next) = next.pop() else {
                seen.insert(state.clone(), false);
                way.pop();
                continue;
            };
            match seen.entry(next) {
                Entry::Occupied(known) if *known.get() => return false,
                Entry::Occupied(_) => {}
                Entry::Vacant(new) => {
                    let state = new.key().clone();
                    new.insert(true);
                    let next = model.next_states(&state);
                    way.push((state, next));
                }
            }
        }
    }
    true
}

fn steps<A: Debug>(actions: Vec<A>) -> Vec<String> {
    actions.into_iter().map(|action| format!("{action:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up to ten, and, on request, in a cycle.
    struct Counter {
        is_round: bool,
    }

    impl Model for Counter {
        type State = u8;
        type Action = u8;

        fn init_states(&self) -> Vec<u8> {
            vec![0]
        }

        fn actions(&self, state: &u8, actions: &mut Vec<u8>) {
            actions.extend((1..=10).filter(|next| next > state).take(2));
            if self.is_round && *state == 10 {
                actions.push(0);
            }
        }

        fn next_state(&self, _state: &u8, action: u8) -> Option<u8> {
            Some(action)
        }
    }

    #[test]
    fn a_cycle_is_seen_and_a_join_is_none() {
        assert!(is_acyclic(&Counter { is_round: false }));
        assert!(!is_acyclic(&Counter { is_round: true }));
    }
}
