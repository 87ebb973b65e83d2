//! Reads one customer.

use crate::app::App;
use crate::app::customers::{CustomerResource, visible};
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// The customer with this id, if the caller may see them.
pub(crate) async fn read(
    app: &App,
    caller: &Caller,
    customer_id: &str,
) -> Result<CustomerResource, Problem> {
    let customer_id = visible(caller, customer_id)?;
    let customer = sqlx::query_as!(
        CustomerResource,
        "select customer_id, email, name, phone, created_at
         from customers.customers where customer_id = $1",
        customer_id.as_str(),
    )
    .fetch_optional(&app.database)
    .await
    .or_problem("reading a customer")?;
    customer.ok_or_else(Problem::customer_not_found)
}
