//! Customers' particulars.

pub(crate) mod list;
pub(crate) mod mail;
pub(crate) mod read;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use domain::CustomerId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::identity::Caller;

/// A customer. Personal data: visible to the customer and to staff only.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
pub(crate) struct CustomerResource {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// The address they registered with; it cannot be changed here.
    email: Option<String>,
    /// Their name.
    name: Option<String>,
    /// A telephone number for the carrier.
    phone: Option<String>,
    /// When they became a customer.
    created_at: DateTime<Utc>,
}

/// Parses a customer id, and checks that the caller may see that customer.
fn visible(caller: &Caller, text: &str) -> Result<CustomerId, Problem> {
    let customer = CustomerId::parse(text).ok().filter(|customer| caller.sees(customer));
    customer.ok_or_else(Problem::customer_not_found)
}
