//! The database of one test, as the programs use it.

use domain::Order;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::types::PgInterval;

/// The same database, with this role's rights alone.
#[must_use]
pub fn as_role(owner: &PgPool, role: &str) -> PgPool {
    let options = PgConnectOptions::clone(&owner.connect_options());
    owner.options().clone().connect_lazy_with(options.options([("role", role)]))
}

/// Puts an order on record as the starter does, with this event of its placing; it is still to be
/// launched. Whether it is new, and the fingerprint on record.
pub async fn place(
    db: &PgPool,
    order: &Order,
    fingerprint: &str,
    placed: &Value,
    address: Option<&Value>,
    launch_after: PgInterval,
) -> (bool, String) {
    let placed = sqlx::query!(
        r#"
        select is_new as "is_new!", recorded_fingerprint as "recorded_fingerprint!"
        from orders.place($1, $2, $3, $4, $5, $6)
        "#,
        order.order_id.uuid(),
        fingerprint,
        placed,
        order.payment_token.as_str(),
        address,
        launch_after,
    );
    let placed = placed.fetch_one(db).await.unwrap();
    (placed.is_new, placed.recorded_fingerprint)
}
