//! Changes a customer's particulars.

use crate::app::App;
use crate::app::customers::{CustomerResource, visible};
use crate::app::input::line_of_text;
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// Sets name and phone of a customer, unless the caller's precondition fails; `None` deletes a
/// value. An unknown customer is created.
pub(crate) async fn update(
    app: &App,
    caller: &Caller,
    customer_id: &str,
    name: Option<&str>,
    phone: Option<&str>,
    consent: impl FnOnce(Option<&CustomerResource>) -> Result<(), Problem>,
) -> Result<CustomerResource, Problem> {
    const DOING: &str = "changing a customer";
    let customer_id = visible(caller, customer_id)?;
    let mut rules = Rules::default();
    let mut line = |pointer: &str, text: Option<&str>, length_max| {
        rules.check_given(pointer, text.map(|text| line_of_text(text, length_max)))
    };
    let (name, phone) = (line("/name", name, 200), line("/phone", phone, 40));
    rules.kept(Some(()))?;
    let mut transaction = app.database.begin().await.or_problem(DOING)?;
    let present = sqlx::query_as!(
        CustomerResource,
        "select customer_id, email, name, phone, created_at
         from customers.customers where customer_id = $1 for no key update",
        customer_id.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await
    .or_problem(DOING)?;
    consent(present.as_ref())?;
    let customer = sqlx::query_as!(
        CustomerResource,
        "insert into customers.customers as known (customer_id, name, phone) values ($1, $2, $3)
         on conflict (customer_id) do update
         set name = excluded.name, phone = excluded.phone, updated_at = now()
         returning customer_id, email, name, phone, created_at",
        customer_id.as_str(),
        name,
        phone,
    )
    .fetch_one(&mut *transaction)
    .await
    .or_problem(DOING)?;
    transaction.commit().await.or_problem(DOING)?;
    Ok(customer)
}
