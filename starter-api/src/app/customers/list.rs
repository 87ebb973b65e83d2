//! Lists customers by id.

use domain::CustomerId;

use crate::app::App;
use crate::app::customers::CustomerResource;
use crate::app::paging::{Page, PageSize};
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// A page of the customers that the caller may see, after this id.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    after: Option<&CustomerId>,
    size: PageSize,
) -> Result<Page<CustomerResource>, Problem> {
    let customers = sqlx::query_as!(
        CustomerResource,
        "select customer_id, email, name, phone, created_at from customers.customers
         where customer_id > coalesce($1, '') and ($2::text is null or customer_id = $2)
         order by customer_id limit $3",
        after.map(CustomerId::as_str),
        caller.customer().map(CustomerId::as_str),
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing customers")?;
    Ok(Page::of(customers, size, |customer| customer.customer_id.clone()))
}
