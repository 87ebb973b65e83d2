//! The database of one test, with the programs' roles, and errors for it to return.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use domain::Order;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// A pool for the same database with only this role's rights.
///
/// It is not a clone of the owner's pool: clones share the 20 connections to which sqlx limits all
/// tests of a process.
#[must_use]
pub fn as_role(owner: &PgPool, role: &str) -> PgPool {
    let options = PgConnectOptions::clone(&owner.connect_options());
    let limits = owner.options();
    PgPoolOptions::new()
        .max_connections(limits.get_max_connections())
        .acquire_timeout(limits.get_acquire_timeout())
        .idle_timeout(limits.get_idle_timeout())
        .connect_lazy_with(options.options([("role", role)]))
}

/// Records an order as the starter does, with this placement event; its launch is pending. Returns
/// whether it is new, and the recorded fingerprint.
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

/// One SQLSTATE of each class, and whether the same statement succeeds once the database is back,
/// or an operator has repaired it.
///
/// **Source.** PostgreSQL's appendix of error codes.
pub const SQLSTATES: [(&str, bool); 46] = [
    ("03000", false),
    ("08006", true),
    ("08P01", true),
    ("09000", false),
    ("0A000", true),
    ("0B000", false),
    ("0F000", false),
    ("0L000", false),
    ("0P000", true),
    ("0Z000", false),
    ("10608", false),
    ("20000", false),
    ("21000", false),
    ("22012", false),
    ("23505", false),
    ("24000", false),
    ("25006", true),
    ("25P02", false),
    ("26000", true),
    ("27000", false),
    ("28P01", true),
    ("2B000", false),
    ("2D000", false),
    ("2F000", false),
    ("34000", false),
    ("38000", false),
    ("39000", false),
    ("3B000", false),
    ("3D000", true),
    ("3F000", true),
    ("40001", true),
    ("40002", false),
    ("40P01", true),
    ("42501", true),
    ("42601", false),
    ("44000", false),
    ("53300", true),
    ("54000", false),
    ("55P03", true),
    ("57014", true),
    ("57P01", true),
    ("58030", true),
    ("72000", true),
    ("HV000", false),
    ("P0001", false),
    ("XX000", false),
];

/// The error of a statement that the database rejects with this SQLSTATE.
#[must_use]
pub fn refused(sqlstate: &'static str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Refused(sqlstate)))
}

#[derive(Debug)]
struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with SQLSTATE {}", self.0)
    }
}

impl Error for Refused {}

impl DatabaseError for Refused {
    fn message(&self) -> &str {
        self.0
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.0))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
