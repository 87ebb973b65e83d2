//! Resumes delivery in a database that was restored from a dump.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Has every message that is kept delivered again to every sink, in a database whose transaction ids
/// are another cluster's; how many messages these are. With `keep_places`, every sink goes on where it
/// was: only for a cluster that has kept its transaction ids, as `pg_upgrade` does.
///
/// It needs the rights of the schemas' owner. A relay that runs meanwhile begins anew.
pub async fn rebase(database: &PgConnectOptions, keep_places: bool) -> sqlx::Result<i64> {
    let mut connection = database.connect().await?;
    let kept = sqlx::query_scalar!(r#"select outbox.rebase($1) as "kept!""#, keep_places)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(kept)
}
