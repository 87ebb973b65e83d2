//! The minimal cost of a read: an axum handler that returns one row by its key as JSON, without
//! checks, limits or logs. A separate process, like the starter.

use std::process::Stdio;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::BenchError;
use super::worker::input_ended;
use crate::screen::say;

/// Serves the bare reads. Started by `shop bench`, and stops with it.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchBare {
    /// The shop's database, as the starter uses it.
    #[arg(long, env = "STARTER_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Starts it as a child process, and returns its URL.
pub(super) async fn started() -> Result<(Child, String), BenchError> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("bench-bare")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut url = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut url).await?;
    }
    Ok((child, url.trim().to_owned()))
}

/// Serves until standard input is closed, with the starter's default number of connections.
pub(crate) async fn serve(options: &BenchBare) -> Result<(), BenchError> {
    let database = PgPoolOptions::new().max_connections(10).test_before_acquire(false);
    let database = database.connect_lazy(&options.database_url)?;
    let router = Router::new()
        .route("/orders/{id}", get(order))
        .route("/products/{sku}", get(product))
        .with_state(database);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(format_args!("http://{}", listener.local_addr()?))?;
    tokio::select! {
        ended = async { axum::serve(listener, router).await } => Ok(ended?),
        () = input_ended() => Ok(()),
    }
}

async fn order(State(database): State<PgPool>, Path(id): Path<Uuid>) -> Answer {
    let row = sqlx::query!(
        "select customer_id, total, currency, lines, status_data
         from orders.orders where order_id = $1",
        id,
    )
    .fetch_optional(&database)
    .await;
    let row = row.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({
        "order_id": id, "customer_id": row.customer_id, "total": row.total,
        "currency": row.currency, "lines": row.lines, "status": row.status_data,
    })))
}

async fn product(State(database): State<PgPool>, Path(sku): Path<String>) -> Answer {
    let row = sqlx::query!(
        "select name, unit_price, currency from catalog.products where sku = $1",
        sku,
    )
    .fetch_optional(&database)
    .await;
    let row = row.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({
        "sku": sku, "name": row.name, "unit_price": row.unit_price, "currency": row.currency,
    })))
}

type Answer = Result<Json<Value>, StatusCode>;

fn failed(_error: sqlx::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}
