//! Parameters that Stripe accepts and localstripe rejects.
//!
//! They are withheld by name; any other parameter is forwarded, so that a misspelt one is rejected.

use serde_json::{Map, Value};

use crate::params::Params;

/// On `POST /v1/payment_intents`.
pub(crate) const CREATE: &[&str] = &[
    "automatic_payment_methods",
    "confirm",
    "confirmation_method",
    "description",
    "error_on_requires_action",
    "mandate",
    "mandate_data",
    "off_session",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
    "use_stripe_sdk",
];
/// On `…/confirm`.
pub(crate) const CONFIRM: &[&str] = &[
    "capture_method",
    "error_on_requires_action",
    "mandate",
    "mandate_data",
    "off_session",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "use_stripe_sdk",
];
/// On `…/capture`.
pub(crate) const CAPTURE: &[&str] =
    &["final_capture", "metadata", "statement_descriptor", "statement_descriptor_suffix"];
/// On `…/cancel`.
pub(crate) const CANCEL: &[&str] = &["cancellation_reason"];
/// On `POST /v1/refunds`.
pub(crate) const REFUND: &[&str] = &["instructions_email", "origin", "reason"];

/// Parameters that an object shows unchanged.
const SHOWN: &[&str] = &[
    "cancellation_reason",
    "description",
    "reason",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
];

/// The parameters withheld from a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Vec<(String, String)>);

impl Kept {
    /// Removes these parameters.
    pub(crate) fn of(params: &mut Params, names: &[&str]) -> Self {
        Self(names.iter().flat_map(|name| params.take(name)).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn says(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// The members of `metadata[…]`.
    pub(crate) fn metadata(&self) -> Map<String, Value> {
        let member =
            |name: &str| Some(name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned());
        let pairs = self.0.iter();
        pairs.filter_map(|(name, value)| Some((member(name)?, value.clone().into()))).collect()
    }

    /// The withheld parameters that the object shows.
    pub(crate) fn shown(&self) -> Map<String, Value> {
        let shown = self.0.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
        shown.map(|(name, value)| (name.clone(), value.clone().into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_localstripe_refuses_is_kept_back_and_anything_else_goes_through() {
        let text = "amount=5&description=shoes&shipping[name]=Ada&off_session=true&colour=red";
        let mut params = Params::parse(text.as_bytes());
        let kept = Kept::of(&mut params, CREATE);
        assert_eq!(params.encoded(), "amount=5&colour=red");
        assert!(kept.says("off_session"));
        let shown = Value::Object(kept.shown());
        assert_eq!(shown, serde_json::json!({ "description": "shoes" }));
    }

    #[test]
    fn metadata_that_a_call_cannot_take_is_kept_by_its_members() {
        let mut params = Params::parse(b"amount_to_capture=5&metadata[parcel]=7");
        let kept = Kept::of(&mut params, CAPTURE);
        assert_eq!(Value::Object(kept.metadata()), serde_json::json!({ "parcel": "7" }));
    }
}
