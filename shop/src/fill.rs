//! A shop that has been in business for two years: as many orders as one wants, with all that
//! belongs to them, so that it can be seen what grows with them.
//!
//! It is written by set-based SQL from real orders and what can become of them, not played; so it
//! takes minutes where playing takes days. What is written is what the programs write: `ordersaga
//! prove` and `ordersaga rebuild --check` hold on it, which the tests show.

#[cfg(test)]
mod explain;
mod tables;
mod templates;

use std::io;
use std::time::Instant;

use activities::catalogue::{Article, Stocking};
use chrono::{DateTime, Utc};
use clap::Args;
use domain::{
    Currency, IdError, InvalidOrder, Money, MoneyError, Sku, UnknownCountry, ledger::Unbalanced,
    refund::InvalidRefund,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Acquire as _, PgConnection, PgPool};

use self::tables::{CHECKS, PLACING, TABLES, TEMPLATES, TRIGGERS_OFF, TRIGGERS_ON, Table};
use self::templates::Prices;
use crate::latency::{per_second, rounded};
use crate::retail::RetailError;
use crate::screen::say;

const PRODUCTS: &[u8] = include_bytes!("../data/products.csv");

/// How many pieces of each article are in the house; those that are sold come in besides.
const PIECES: u32 = 1_000_000;

/// Writes a history of two years, of so many orders, into a shop's database that has no other orders.
///
/// Nothing else may be using the database. Once it was interrupted, the same command goes on where it
/// was.
#[derive(Clone, Debug, Args)]
pub(crate) struct Fill {
    /// How many orders.
    #[arg(long, env = "ORDERS", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(1..))]
    orders: i64,

    /// Orders of the real data with more lines than this are left out: a million orders of 22 lines,
    /// as they are in the mean, are some 30 GB.
    #[arg(long, default_value_t = 12)]
    lines_max: usize,

    /// How many orders are written in one transaction.
    #[arg(long, default_value_t = 25_000, value_parser = clap::value_parser!(i64).range(1..))]
    at_once: i64,

    /// The shop's database, as the owner of its schemas.
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    owner_database_url: String,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// How many orders.
    pub(crate) orders: i64,
    /// The most lines that an order has.
    pub(crate) lines_max: usize,
    /// How many orders are written in one transaction.
    pub(crate) at_once: i64,
    /// Whether it may have other orders, too: such as a measurement has placed.
    pub(crate) is_beside_others: bool,
}

/// Why the database was not filled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// Somebody's orders are in it.
    #[error(
        "this database has orders that were really placed: `shop fill` writes into one that has \
         none. `make clean` forgets the data of a shop on this machine; or name another database"
    )]
    NotFresh,
    /// There is more in it than is wanted.
    #[error("this database holds {there} filled orders already, and {wanted} are wanted")]
    MoreThanWanted {
        /// So many are there.
        there: i64,
        /// So many should be.
        wanted: i64,
    },
    /// No order is that short.
    #[error("no real order that the shop sells has {lines_max} lines or less")]
    NoTemplates {
        /// The limit.
        lines_max: usize,
    },
    /// A statement failed.
    #[error("{table} could not be written")]
    Table {
        /// What was being written.
        table: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The catalogue cannot be loaded.
    #[error("the catalogue cannot be loaded")]
    Load(#[from] activities::ActivityFault),
    /// The catalogue cannot be read.
    #[error("the catalogue cannot be read")]
    Catalogue(#[from] csv::Error),
    /// The real orders cannot be read.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// A name has not the shape it should have.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A country is none.
    #[error(transparent)]
    Country(#[from] UnknownCountry),
    /// An amount cannot be.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// An order is none.
    #[error(transparent)]
    Order(#[from] InvalidOrder),
    /// A booking does not balance.
    #[error(transparent)]
    Unbalanced(#[from] Unbalanced),
    /// A refund cannot be.
    #[error(transparent)]
    Refund(#[from] InvalidRefund),
    /// An event cannot be written as JSON.
    #[error("what happened cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The terminal is gone.
    #[error("cannot write to the terminal")]
    Screen(#[from] io::Error),
}

/// Fills the database, and says how far it is.
pub(crate) async fn run(fill: &Fill) -> Result<(), FillError> {
    let pool = PgPoolOptions::new().max_connections(1).connect(&fill.owner_database_url).await?;
    let Fill { orders, lines_max, at_once, .. } = *fill;
    let began = Instant::now();
    let written =
        filled(&pool, Extent { orders, lines_max, at_once, is_beside_others: false }).await?;
    let took = began.elapsed();
    let rate = rounded(per_second(u64::try_from(written).unwrap_or_default(), took), 0);
    say(format_args!("{written} orders written in {} s: {rate} a second", took.as_secs()))?;
    Ok(())
}

/// Writes what is missing of the extent, and answers how many orders that were.
///
/// **Errors.** [`FillError::NotFresh`] before anything is written.
/// **Repeats.** Goes on after the last batch that was committed.
pub(crate) async fn filled(pool: &PgPool, extent: Extent) -> Result<i64, FillError> {
    let (there, others) = orders_there(pool).await?;
    if others > 0 && !extent.is_beside_others {
        return Err(FillError::NotFresh);
    }
    if there > extent.orders {
        return Err(FillError::MoreThanWanted { there, wanted: extent.orders });
    }
    load_catalogue(pool).await?;
    let prices = prices(pool).await?;
    let templates = templates::templates(&prices, extent.lines_max)?;
    let bases = templates.len().checked_div(templates::courses()).unwrap_or_default();
    let mut connection = pool.acquire().await?;
    prepare(&mut connection, &serde_json::to_value(&templates)?).await?;
    drop(templates);
    let moment = moment(&mut connection).await?;
    let mut done = there;
    while done < extent.orders {
        let first = done.saturating_add(1);
        let last = done.saturating_add(extent.at_once).min(extent.orders);
        write(&mut connection, &Batch { first, last, total: extent.orders, moment, bases }).await?;
        done = last;
        say(format_args!("{done} of {} orders are written", extent.orders))?;
    }
    // A planner that believes the tables to be empty plans accordingly.
    sqlx::raw_sql("drop table placement, booking, batch; analyze")
        .execute(&mut *connection)
        .await?;
    close_books(&mut connection).await?;
    connection.close().await?;
    Ok(done.saturating_sub(there))
}

/// Closes the books up to what was written, as the worker does from minute to minute.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn close_books(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    loop {
        let closing = sqlx::query_as("select ledger.close_books(500000)");
        let (closed,): (i64,) = closing.fetch_one(&mut *connection).await?;
        if closed == 0 {
            return Ok(());
        }
    }
}

/// The orders that are written together.
struct Batch {
    first: i64,
    last: i64,
    total: i64,
    moment: DateTime<Utc>,
    bases: usize,
}

/// What the database says of the time; all times of the history come from it.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn moment(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    let (moment,) = sqlx::query_as("select now()").fetch_one(connection).await?;
    Ok(moment)
}

/// How many orders there are of an earlier run, and how many others.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn orders_there(pool: &PgPool) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "select count(*) filter (where is_filled), count(*) filter (where not is_filled)
         from orders.orders, lateral (
            values (fingerprint like 'v1:f111f111f111%')
         ) as written (is_filled)",
    )
    .fetch_one(pool)
    .await
}

#[derive(Deserialize)]
struct Product {
    sku: String,
    name: String,
    unit_price_gbp: Decimal,
}

/// Receives the articles that the shop does not have yet.
async fn load_catalogue(pool: &PgPool) -> Result<(), FillError> {
    let mut articles = Vec::new();
    for product in csv::Reader::from_reader(PRODUCTS).into_deserialize() {
        let Product { sku, name, unit_price_gbp } = product?;
        let unit_price = Money::new(unit_price_gbp, Currency::GBP)?;
        articles.push(Article { sku: Sku::parse(sku)?, name, unit_price });
    }
    let stocking = Stocking { cost_percent: 60.into(), pieces: PIECES };
    activities::catalogue::load(pool, &articles, stocking).await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn prices(pool: &PgPool) -> Result<Prices, FillError> {
    let mut prices = Prices::default();
    let articles: Vec<(String, Decimal, Decimal)> = sqlx::query_as(
        "select sku, unit_price, unit_cost from catalog.products join inventory.stock using (sku)
         where currency = 'GBP'",
    )
    .fetch_all(pool)
    .await?;
    prices.articles.extend(articles.into_iter().map(|(sku, price, cost)| (sku, (price, cost))));
    let taxes: Vec<(String, Decimal)> =
        sqlx::query_as("select country::text, percent from catalog.tax_rates")
            .fetch_all(pool)
            .await?;
    prices.tax_percent.extend(taxes);
    let shipping: Vec<(String, Decimal, Option<Decimal>)> = sqlx::query_as(
        "select country::text, fee, free_from from catalog.shipping_rates where currency = 'GBP'",
    )
    .fetch_all(pool)
    .await?;
    prices.shipping.extend(shipping.into_iter().map(|(to, fee, free)| (to, (fee, free))));
    Ok(prices)
}

/// Hands the templates to the database, in tables of this connection alone.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn prepare(
    connection: &mut PgConnection,
    templates: &serde_json::Value,
) -> Result<(), FillError> {
    // A batch is long, and so is what it sorts.
    sqlx::raw_sql(
        "set statement_timeout = 0; set work_mem = '64MB'; set jit = off;
         create temp table given (templates jsonb)",
    )
    .execute(&mut *connection)
    .await?;
    let given = sqlx::query("insert into given values ($1)");
    given.bind(templates).execute(&mut *connection).await?;
    sqlx::raw_sql(TEMPLATES)
        .execute(connection)
        .await
        .map_err(|source| FillError::Table { table: "the templates", source })?;
    Ok(())
}

/// Writes a batch of orders with all that belongs to them, and checks it: all of it or nothing.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn write(connection: &mut PgConnection, batch: &Batch) -> Result<(), FillError> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(TRIGGERS_OFF).execute(&mut *transaction).await?;
    sqlx::raw_sql("truncate batch").execute(&mut *transaction).await?;
    let insert = sqlx::query("insert into batch values ($1, $2, $3, $4, $5, $6, $7)");
    insert
        .bind(batch.first)
        .bind(batch.last)
        .bind(batch.total)
        .bind(batch.moment)
        .bind(i64::try_from(batch.bases).unwrap_or(i64::MAX))
        .bind(i64::try_from(templates::courses()).unwrap_or(i64::MAX))
        .bind(templates::shares())
        .execute(&mut *transaction)
        .await?;
    let placing = Table { name: "what is to be placed", sql: PLACING };
    let checks = Table { name: "what was written, as it is checked,", sql: CHECKS };
    let on = Table { name: "the triggers", sql: TRIGGERS_ON };
    for Table { name, sql } in [&placing].into_iter().chain(TABLES).chain([&checks, &on]) {
        sqlx::raw_sql(*sql)
            .execute(&mut *transaction)
            .await
            .map_err(|source| FillError::Table { table: name, source })?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use runtime::schema::MIGRATIONS;
    use worker::prove::{Finding, Verdict, prove, table};
    use worker::rebuild::Comparison;

    use super::*;

    const ORDERS: i64 = 2_000;

    async fn fill(db: &PgPool, orders: i64) -> Result<i64, FillError> {
        filled(db, Extent { orders, lines_max: 12, at_once: 700, is_beside_others: false }).await
    }

    /// How many rows a query counts.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    async fn count(db: &PgPool, query: &'static str) -> i64 {
        let (count,) = sqlx::query_as(query).fetch_one(db).await.unwrap();
        count
    }

    #[sqlx::test(migrator = "MIGRATIONS")]
    async fn a_filled_shop_is_proved_and_told_anew(db: PgPool) {
        assert_eq!(fill(&db, ORDERS).await.unwrap(), ORDERS);
        let findings = prove(&db, None).await.unwrap();
        assert!(!findings.iter().any(Finding::is_broken), "{}", table(&findings));
        let orders = findings.iter().find(|one| one.promise == PAID).unwrap();
        assert_eq!((orders.looked_at, &orders.verdict), (2_000, &Verdict::Holds));
        let mut comparison = Comparison::default();
        while let Some(differences) = comparison.next(&db).await.unwrap() {
            assert_eq!(differences, []);
        }
        assert_eq!(comparison.looked_at(), 2_000);
        // So that there is something to look at.
        for (what, least) in [
            ("select count(distinct status) from orders.orders", 3),
            ("select count(distinct payment_status) from orders.orders", 5),
            ("select count(*) from payments.refund_requests", 50),
            ("select count(*) from ledger.transactions where reverses is not null", 10),
            ("select count(*) from outbox.messages", 50),
            ("select count(*) from customers.addresses", 20),
        ] {
            let there = count(&db, what).await;
            assert!(there >= least, "{what}: {there}");
        }
        assert_eq!(
            count(
                &db,
                "select count(*) from orders.step_keys where run_id is null
            and step = 'recognise-revenue'"
            )
            .await,
            0
        );
    }

    const PAID: &str = "an order is paid exactly if it stands";

    #[sqlx::test(migrator = "MIGRATIONS")]
    async fn a_fill_that_was_interrupted_goes_on_and_one_that_is_done_writes_nothing(db: PgPool) {
        assert_eq!(fill(&db, 300).await.unwrap(), 300);
        assert_eq!(fill(&db, 500).await.unwrap(), 200);
        assert_eq!(fill(&db, 500).await.unwrap(), 0);
        assert!(matches!(
            fill(&db, 400).await,
            Err(FillError::MoreThanWanted { there: 500, wanted: 400 })
        ));
        let findings = prove(&db, None).await.unwrap();
        assert!(!findings.iter().any(Finding::is_broken), "{}", table(&findings));
    }

    #[sqlx::test(migrator = "MIGRATIONS")]
    async fn a_shop_with_real_orders_is_refused_and_left_as_it_is(db: PgPool) {
        fill(&db, 10).await.unwrap();
        sqlx::raw_sql(
            "update orders.orders set fingerprint = 'v1:of a request' where order_id
                = (select order_id from orders.orders limit 1)",
        )
        .execute(&db)
        .await
        .unwrap();
        assert!(matches!(fill(&db, 20).await, Err(FillError::NotFresh)));
        assert_eq!(count(&db, "select count(*) from orders.orders").await, 10);
    }

    /// The triggers are back in force: nothing crooked can be booked after a fill.
    #[sqlx::test(migrator = "MIGRATIONS")]
    async fn after_a_fill_the_books_refuse_what_does_not_balance(db: PgPool) {
        fill(&db, 10).await.unwrap();
        let crooked = sqlx::raw_sql("insert into ledger.transactions (key) values ('crooked')");
        let refused = crooked.execute(&db).await.unwrap_err().to_string();
        assert!(refused.contains("entries"), "{refused}");
        let off = "select count(*) from pg_trigger where tgenabled <> 'O'";
        assert_eq!(count(&db, off).await, 0);
    }

    /// What stands in for the triggers finds what they would have found.
    #[sqlx::test(migrator = "MIGRATIONS")]
    async fn a_batch_that_does_not_balance_is_not_written(db: PgPool) {
        load_catalogue(&db).await.unwrap();
        let templates = templates::templates(&prices(&db).await.unwrap(), 12).unwrap();
        let mut templates = serde_json::to_value(&templates).unwrap();
        // The deposit of every order is booked as a pound that came in.
        for template in templates.as_array_mut().unwrap() {
            if let Some(amount) = template.pointer_mut("/bookings/0/entries/0/amount/amount") {
                *amount = "1.00".into();
            }
        }
        let mut connection = db.acquire().await.unwrap();
        prepare(&mut connection, &templates).await.unwrap();
        let now = moment(&mut connection).await.unwrap();
        let bases = templates.as_array().unwrap().len().checked_div(templates::courses()).unwrap();
        let batch = Batch { first: 1, last: 400, total: 400, moment: now, bases };
        let error = write(&mut connection, &batch).await.unwrap_err();
        let FillError::Table { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains("does not balance"), "{source}");
        assert_eq!(count(&db, "select count(*) from orders.orders").await, 0);
    }
}
