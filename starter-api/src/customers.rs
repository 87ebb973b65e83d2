//! Customers: who they are beyond their orders.

pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use domain::CustomerId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::identity::access::Caller;
use crate::problem::{Kind, Problem};

/// A customer. Personal data: shown to themself and to those who serve them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
pub(crate) struct CustomerResource {
    /// The customer's name everywhere else.
    #[schema(example = "17850")]
    customer_id: String,
    /// Where they registered with; it cannot be changed here.
    email: Option<String>,
    /// What to call them.
    name: Option<String>,
    /// Where the carrier may call.
    phone: Option<String>,
    /// Since when they are known.
    created_at: DateTime<Utc>,
}

pub(crate) fn nobody() -> Problem {
    Problem::new(Kind::CustomerNotFound, "The shop knows no customer by this id.")
}

/// The customer of this text in a path, if they are the caller's to see.
fn visible(caller: &Caller, text: &str) -> Result<CustomerId, Problem> {
    let customer = CustomerId::parse(text).map_err(|_no_id| nobody())?;
    if caller.sees(&customer) { Ok(customer) } else { Err(nobody()) }
}
