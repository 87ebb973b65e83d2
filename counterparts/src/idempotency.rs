//! Idempotency keys as Stripe's API v1 has them.
//!
//! The first request under a key is carried out, and its status and body are kept once its work had
//! begun, a 500 included. The same request again gets them without any work. What was refused
//! before any work leaves the key free.

use std::collections::HashMap;

use crate::answer::Answer;

/// The keys that were used, until they are forgotten.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    /// Method, path and parameters.
    request: String,
    /// None while the request is under way.
    answer: Option<Answer>,
}

/// What a key says about a request.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// It is the first: it is carried out, and then ended.
    First,
    /// It was carried out: this is the answer.
    Again(Answer),
    /// The first is still under way.
    UnderWay,
    /// The key belongs to another request.
    OfAnother,
}

impl Keys {
    /// Begins a request, described by method, path and parameters.
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

    /// Ends what was begun as the first.
    pub fn end(&mut self, key: &str, answer: &Answer) {
        if !answer.kept {
            self.0.remove(key);
        } else if let Some(entry) = self.0.get_mut(key) {
            entry.answer = Some(answer.clone());
        }
    }

    /// Forgets all of them, as Stripe does with each after a day.
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
