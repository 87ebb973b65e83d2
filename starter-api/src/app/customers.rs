//! Customers: who they are beyond their orders.

pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use domain::CustomerId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::identity::Caller;

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

/// The customer id that a caller wrote, if they may see that customer.
fn visible(caller: &Caller, text: &str) -> Result<CustomerId, Problem> {
    let customer = CustomerId::parse(text).ok().filter(|customer| caller.sees(customer));
    customer.ok_or_else(Problem::customer_not_found)
}
