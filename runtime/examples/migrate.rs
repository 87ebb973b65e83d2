//! Applies pending migrations to the database named by `MIGRATE_DATABASE_URL`.
//!
//! `ordersaga migrate` does the same for an operator. This one is for a developer who has changed a
//! query or a migration: it contains no query that is checked at compile time, so it builds before
//! the checked queries do.

use std::error::Error;

use runtime::database::parse_url;
use runtime::schema::migrate;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = parse_url(&std::env::var("MIGRATE_DATABASE_URL")?)?;
    migrate(&database).await?;
    Ok(())
}
