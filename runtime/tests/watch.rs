//! A pool's metrics.

#![cfg(test)]

use runtime::database::{Database, PoolWatch};
use runtime::metrics::{page, recorder};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

/// The value of a series on the metrics page.
fn value(series: &str) -> Option<String> {
    let page = page();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(str::to_owned)
}

fn is(series: &str, expected: &str) {
    assert_eq!(value(series).as_deref(), Some(expected), "{series}");
}

#[sqlx::test(migrations = false)]
async fn a_pool_is_seen_to_be_full_and_to_give_no_connection(owner: PgPool) {
    drop(recorder());
    let pool = owner.options().clone().max_connections(1);
    let pool = pool.connect_lazy_with(PgConnectOptions::clone(&owner.connect_options()));
    let watch = PoolWatch::of(&pool, "narrow");
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, "0");
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, "0");
    watch.show();
    is(r#"ordersaga_database_connections_max{pool="narrow"}"#, "1");

    watch.look().await;
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, "0");
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, "1");

    let only = pool.acquire().await.unwrap();
    watch.show();
    is(r#"ordersaga_database_connections{pool="narrow",state="open"}"#, "1");
    is(r#"ordersaga_database_connections{pool="narrow",state="idle"}"#, "0");
    drop(only);

    pool.close().await;
    watch.look().await;
    is(r#"ordersaga_database_probes_failed_total{pool="narrow"}"#, "1");
    is(r#"ordersaga_database_acquire_seconds_count{pool="narrow"}"#, "1");
}

#[sqlx::test(migrations = false)]
async fn the_pool_for_single_statements_is_seen_as_one_of_its_own(owner: PgPool) {
    drop(recorder());
    let pool = owner.options().clone().max_connections(3).idle_timeout(None);
    let pool = pool.connect_lazy_with(PgConnectOptions::clone(&owner.connect_options()));
    let watch = PoolWatch::of_statements(&Database::of(pool), "statements");
    watch.show();
    is(r#"ordersaga_database_connections_max{pool="statements"}"#, "3");
    is(r#"ordersaga_database_connections{pool="statements",state="open"}"#, "0");

    watch.look().await;
    is(r#"ordersaga_database_probes_failed_total{pool="statements"}"#, "0");
    is(r#"ordersaga_database_acquire_seconds_count{pool="statements"}"#, "1");
    watch.show();
    is(r#"ordersaga_database_connections{pool="statements",state="open"}"#, "1");
    is(r#"ordersaga_database_connections{pool="statements",state="idle"}"#, "1");
}

/// The test and its database share one clock.
#[sqlx::test(migrations = false)]
async fn clocks_that_agree_are_seen_to(owner: PgPool) {
    drop(recorder());
    PoolWatch::of(&owner, "clock").look().await;
    let ahead = value(r#"ordersaga_database_clock_ahead_seconds{pool="clock"}"#).unwrap();
    let ahead: f64 = ahead.parse().unwrap();
    assert!(ahead.abs() < 60.0, "{ahead}");
}
