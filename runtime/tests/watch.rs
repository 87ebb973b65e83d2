//! What can be seen of a pool in the metrics.

#![cfg(test)]

use runtime::database::PoolWatch;
use runtime::metrics::{page, recorder};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

/// The value of a series, as the page has it.
fn value(series: &str) -> Option<f64> {
    let page = page();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn is(series: &str, expected: f64) {
    let told = value(series);
    assert!(told.is_some_and(|told| (told - expected).abs() < 1e-9), "{series}: {told:?}");
}

#[sqlx::test(migrations = false)]
async fn a_pool_is_seen_to_be_full_and_to_give_no_connection(owner: PgPool) {
    drop(recorder());
    let pool = owner.options().clone().max_connections(1);
    let pool = pool.connect_lazy_with(PgConnectOptions::clone(&owner.connect_options()));
    let watch = PoolWatch::of(&pool, "narrow");
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, 0.0);
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, 0.0);
    watch.show();
    is(r#"ordersaga_database_connections_max{pool="narrow"}"#, 1.0);

    watch.look().await;
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, 0.0);
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, 1.0);

    let only = pool.acquire().await.unwrap();
    watch.show();
    is(r#"ordersaga_database_connections{pool="narrow",state="open"}"#, 1.0);
    is(r#"ordersaga_database_connections{pool="narrow",state="idle"}"#, 0.0);
    drop(only);

    pool.close().await;
    watch.look().await;
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, 1.0);
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, 1.0);
}

/// The clocks of the test and of its database are the same one.
#[sqlx::test(migrations = false)]
async fn clocks_that_agree_are_seen_to(owner: PgPool) {
    drop(recorder());
    PoolWatch::of(&owner, "clock").look().await;
    let ahead = value(r#"ordersaga_database_clock_ahead_seconds{pool="clock"}"#).unwrap();
    assert!(ahead.abs() < 60.0, "{ahead}");
}
