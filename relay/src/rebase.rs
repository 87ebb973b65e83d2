//! Resumes delivery in a database that was restored from a dump.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Makes every sink deliver all kept messages again, in a database whose transaction ids come from
/// another cluster; returns the number of messages. With `keep_places`, every sink continues at its
/// position: only for a cluster that has kept its transaction ids, as `pg_upgrade` does.
///
/// Requires the rights of the schemas' owner. A running relay starts over.
pub async fn rebase(database: &PgConnectOptions, keep_places: bool) -> sqlx::Result<i64> {
    let mut connection = database.connect().await?;
    let kept = sqlx::query_scalar!(r#"select outbox.rebase($1) as "kept!""#, keep_places)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(kept)
}
