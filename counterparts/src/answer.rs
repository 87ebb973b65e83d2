//! The proxy's answers, and Stripe's errors.

use serde_json::{Value, json};

use crate::params::Params;

/// An answer before it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// Whether it is stored under the request's idempotency key, because the work had begun.
    pub kept: bool,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body, kept: true }
    }

    /// An error after the work had begun.
    pub(crate) fn refused(status: u16, error: &Value) -> Self {
        Self { status, body: json!({ "error": error }), kept: true }
    }

    /// An error before any work.
    pub(crate) fn invalid(status: u16, error: &Value) -> Self {
        Self { kept: false, ..Self::refused(status, error) }
    }

    pub(crate) fn unauthorised() -> Self {
        Self::invalid(401, &invalid_request("Invalid API Key provided: use one of `sk_test_…`."))
    }

    pub(crate) fn rate_limited() -> Self {
        let message = "Request rate limit exceeded. Back off, and try again.";
        Self::invalid(429, &with_code(invalid_request(message), "rate_limit"))
    }

    pub(crate) fn server_error() -> Self {
        let message = "An unknown error occurred";
        Self::refused(500, &json!({ "type": "api_error", "message": message }))
    }

    /// localstripe or stripe-mock is missing: a fault of the test's setup, not of Stripe.
    pub(crate) fn no_counterpart(why: &str) -> Self {
        Self::invalid(502, &json!({ "type": "api_error", "message": why }))
    }

    pub(crate) fn key_in_use() -> Self {
        let message = "There is currently another in-progress request using this Idempotency Key.";
        Self::invalid(409, &with_code(idempotency(message), "idempotency_key_in_use"))
    }

    pub(crate) fn key_of_another_request() -> Self {
        Self::invalid(
            400,
            &idempotency(
                "This Idempotency-Key was used before with another request or parameters.",
            ),
        )
    }

    pub(crate) fn key_too_long() -> Self {
        Self::invalid(400, &invalid_request("An Idempotency-Key has at most 255 characters."))
    }

    pub(crate) fn missing(what: &str, id: &str) -> Self {
        let error = invalid_request(&format!("No such {what}: '{id}'"));
        Self::invalid(404, &with_code(error, "resource_missing"))
    }

    /// An object that a parameter names does not exist.
    pub(crate) fn missing_for(parameter: &str, id: &str) -> Self {
        let error = invalid_request(&format!("No such {parameter}: '{id}'"));
        let mut error = with_code(error, "resource_missing");
        error["param"] = json!(parameter);
        Self::invalid(400, &error)
    }

    pub(crate) fn unexpected_state(doing: &str, intent: Value) -> Self {
        let Some(status) = intent["status"].as_str() else {
            return Self::no_counterpart("localstripe shows a payment without a status");
        };
        let message =
            format!("This PaymentIntent could not be {doing} because it has a status of {status}.");
        let mut error = with_code(invalid_request(&message), "payment_intent_unexpected_state");
        error["payment_intent"] = intent;
        Self::refused(400, &error)
    }

    /// An error of localstripe, in Stripe's form as far as that is known.
    pub(crate) fn of_localstripe(status: u16, body: Value) -> Self {
        if status < 400 {
            return Self::ok(body);
        }
        if status == 404 {
            let error = with_code(invalid_request("No such object"), "resource_missing");
            return Self::invalid(404, &error);
        }
        let Some(message) = body["error"]["message"].as_str() else {
            let why = format!("localstripe answers {status} and does not say why: {body}");
            return Self::no_counterpart(&why);
        };
        if let Some(name) = message.strip_prefix("Unexpected ") {
            let message = format!("Received unknown parameter: {name}");
            let mut error = with_code(invalid_request(&message), "parameter_unknown");
            error["param"] = json!(name);
            return Self::invalid(400, &error);
        }
        if status < 500 {
            return Self::invalid(status, &invalid_request(message));
        }
        Self::server_error()
    }
}

/// An error in the request.
pub(crate) fn invalid_request(message: &str) -> Value {
    json!({ "type": "invalid_request_error", "message": message })
}

fn idempotency(message: &str) -> Value {
    json!({ "type": "idempotency_error", "message": message })
}

/// Adds a machine-readable code to the error.
pub(crate) fn with_code(mut error: Value, code: &str) -> Value {
    error["code"] = json!(code);
    error
}

/// One page of a list, newest first, with Stripe's pagination.
///
/// **Errors.** The limit is not a number, or the cursor is not in the list.
pub(crate) fn page(all: Vec<Value>, url: &str, params: &Params) -> Result<Value, Answer> {
    let limit = limit_of(params)?;
    let place = |name: &str| match params.get(name) {
        None => Ok(None),
        Some(id) => match all.iter().position(|one| one["id"] == id) {
            Some(position) => Ok(Some(position)),
            None => Err(Answer::missing_for(name, id)),
        },
    };
    let from = place("starting_after")?.map_or(0, |position| position.saturating_add(1));
    let to = place("ending_before")?.unwrap_or(all.len());
    let window = to.saturating_sub(from);
    // `ending_before` alone means the page right before it, not the first page.
    let skipped = match params.get("ending_before") {
        Some(_) => from.saturating_add(window.saturating_sub(limit)),
        None => from,
    };
    let data: Vec<_> = all.into_iter().take(to).skip(skipped).take(limit).collect();
    Ok(json!({ "object": "list", "url": url, "has_more": window > limit, "data": data }))
}

/// Whether an object was created within the bounds of a list request.
pub(crate) fn is_within(object: &Value, params: &Params) -> bool {
    let created = object["created"].as_i64().unwrap_or_default();
    let bound = |name: &str| params.get(&format!("created[{name}]"))?.parse::<i64>().ok();
    bound("gt").is_none_or(|bound| created > bound)
        && bound("gte").is_none_or(|bound| created >= bound)
        && bound("lt").is_none_or(|bound| created < bound)
        && bound("lte").is_none_or(|bound| created <= bound)
}

fn limit_of(params: &Params) -> Result<usize, Answer> {
    let Some(given) = params.get("limit") else { return Ok(10) };
    let limit = given.parse::<usize>().ok().filter(|limit| (1..=100_usize).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("Invalid integer between 1 and 100: {given}");
        let mut error = with_code(invalid_request(&message), "parameter_invalid_integer");
        error["param"] = json!("limit");
        Answer::invalid(400, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(params: &str) -> (Vec<String>, bool) {
        let all = (1..=5).rev().map(|number| json!({ "id": format!("e{number}") })).collect();
        let page = page(all, "/v1/events", &Params::parse(params.as_bytes())).unwrap();
        let data = page["data"].as_array().unwrap().iter();
        let ids = data.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        (ids, page["has_more"] == true)
    }

    #[test]
    fn a_list_is_paged_in_both_directions() {
        assert_eq!(ids("limit=2"), (vec!["e5".to_owned(), "e4".to_owned()], true));
        assert_eq!(
            ids("limit=9&starting_after=e3"),
            (vec!["e2".to_owned(), "e1".to_owned()], false)
        );
        assert_eq!(ids("limit=2&ending_before=e2"), (vec!["e4".to_owned(), "e3".to_owned()], true));
    }

    #[test]
    fn a_page_that_nobody_can_give_is_refused() {
        for (params, param) in [
            ("limit=many", "limit"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("starting_after=e9", "starting_after"),
            ("ending_before=e9", "ending_before"),
        ] {
            let all = vec![json!({ "id": "e1" })];
            let refused = page(all, "/v1/events", &Params::parse(params.as_bytes())).unwrap_err();
            assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!(param)));
        }
    }

    #[test]
    fn an_answer_of_localstripe_that_says_nothing_is_a_fault_of_the_set_up() {
        let page = Answer::of_localstripe(400, json!("<html>Bad gateway</html>"));
        assert_eq!((page.status, page.kept), (502, false));
        assert!(page.body.to_string().contains("Bad gateway"), "{}", page.body);
        let payment = Answer::unexpected_state("captured", json!({ "id": "pi_1" }));
        assert_eq!(payment.status, 502);
    }

    #[test]
    fn what_localstripe_does_not_know_is_an_unknown_parameter() {
        let body = json!({ "error": { "message": "Unexpected colour" } });
        let answer = Answer::of_localstripe(400, body);
        assert_eq!(answer.body["error"]["code"], "parameter_unknown");
        assert_eq!(answer.body["error"]["param"], "colour");
        assert!(!answer.kept, "nothing was done, so the key stays free");
    }
}
