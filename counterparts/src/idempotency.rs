//! Idempotency keys with the semantics of Stripe's API v1.
//!
//! The first request under a key is executed, and its status and body are stored once its work has
//! begun, even a 500. A repeated request gets them without any work. A request that is rejected
//! before any work does not use its key.

use std::collections::HashMap;

use crate::answer::Answer;

/// The keys in use, until they are forgotten.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    /// Method, path and parameters.
    request: String,
    /// `None` while the request is in progress.
    answer: Option<Answer>,
}

/// The state of a key for a request.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// It is the first request: execute it, then call `end`.
    First,
    /// It was executed, with this answer.
    Again(Answer),
    /// The first request is still in progress.
    UnderWay,
    /// The key belongs to a different request.
    OfAnother,
}

impl Keys {
    /// Begins a request, identified by method, path and parameters.
    pub fn begin(&mut self, key: &str, request: &str) -> Begun {
        match self.0.get(key) {
            None => {
                let entry = Entry { request: request.to_owned(), answer: None };
                self.0.insert(key.to_owned(), entry);
                Begun::First
            }
            Some(entry) if entry.request != request => Begun::OfAnother,
            Some(Entry { answer: Some(answer), .. }) => Begun::Again(answer.clone()),
            Some(Entry { answer: None, .. }) => Begun::UnderWay,
        }
    }

    /// Stores the answer of a first request.
    pub fn end(&mut self, key: &str, answer: &Answer) {
        if !answer.kept {
            self.0.remove(key);
        } else if let Some(entry) = self.0.get_mut(key) {
            entry.answer = Some(answer.clone());
        }
    }

    /// Forgets all keys, as Stripe does with each after a day.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended_with(answer: &Answer) -> Keys {
        let mut keys = Keys::default();
        assert_eq!(keys.begin("k", "POST /a x=1"), Begun::First);
        keys.end("k", answer);
        keys
    }

    #[test]
    fn the_same_request_gets_the_answer_that_was_given() {
        for answer in [Answer::ok(json!({ "id": "pi_1" })), Answer::server_error()] {
            let mut keys = ended_with(&answer);
            assert_eq!(keys.begin("k", "POST /a x=1"), Begun::Again(answer));
        }
    }

    #[test]
    fn another_request_is_told_that_the_key_is_not_its_own() {
        let mut keys = ended_with(&Answer::ok(json!({})));
        assert_eq!(keys.begin("k", "POST /a x=2"), Begun::OfAnother);
        assert_eq!(keys.begin("another", "POST /a x=2"), Begun::First);
    }

    #[test]
    fn a_request_under_way_holds_its_key() {
        let mut keys = Keys::default();
        assert_eq!(keys.begin("k", "POST /a"), Begun::First);
        assert_eq!(keys.begin("k", "POST /a"), Begun::UnderWay);
    }

    #[test]
    fn what_was_refused_before_any_work_leaves_the_key_free() {
        for answer in [Answer::rate_limited(), Answer::unauthorised(), Answer::key_too_long()] {
            let mut keys = ended_with(&answer);
            assert_eq!(keys.begin("k", "POST /a x=2"), Begun::First);
        }
    }

    #[test]
    fn a_forgotten_key_is_carried_out_again() {
        let mut keys = ended_with(&Answer::ok(json!({})));
        keys.forget();
        assert_eq!(keys.begin("k", "POST /a x=1"), Begun::First);
    }
}
