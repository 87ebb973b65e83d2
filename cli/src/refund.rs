//! `ordersaga refund`.

use anyhow::Result;
use clap::Subcommand;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api_client::{Api, ApiError, ClientArgs};
use crate::order::{show, show_table};
use crate::output::{Column, Format, print};

/// Refunds of completed orders.
#[derive(Debug, clap::Args)]
pub(crate) struct RefundArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Request a refund of a completed order
    Create(CreateArgs),
    /// List an order's refunds, the oldest first
    List(ListArgs),
    /// Show a refund in full
    Show(ShowArgs),
}

/// Arguments of `refund create`.
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// The order's id
    order_id: String,
    /// An amount, spread over everything that was paid for, such as "10.00 GBP"
    #[arg(long, value_parser = money, conflicts_with_all = ["lines", "shipping"],
          required_unless_present_any = ["lines", "shipping"])]
    amount: Option<Value>,
    /// Refund what is left of the price of these pieces, and of the tax on it; may be repeated
    #[arg(long = "line", value_name = "SKU=QUANTITY", value_parser = line)]
    lines: Vec<Value>,
    /// Refund what is left of the shipping, and of the tax on it
    #[arg(long)]
    shipping: bool,
    /// The reason; everybody who may see the order sees it, so it must not name a person
    #[arg(long)]
    reason: String,
    /// An idempotency key of your choice: a repeat with the same key creates no second refund
    #[arg(long, value_parser = key)]
    key: String,
}

/// Arguments of `refund list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The order's id
    order_id: String,
}

/// Arguments of `refund show`.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The order's id
    order_id: String,
    /// The refund's number, as `refund list` shows it
    number: u32,
}

const COLUMNS: [Column; 7] = [
    ("REFUND", "/number"),
    ("ASKED", "/requested_at"),
    ("BY", "/requested_by"),
    ("AMOUNT", "/amount"),
    ("STATE", "/state"),
    ("REASON", "/reason"),
    ("FAILURE", "/failure"),
];

pub(crate) async fn run(args: RefundArgs) -> Result<()> {
    let RefundArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::Create(wanted) => {
            let path = ["v1", "orders", &wanted.order_id, "refunds"];
            show(&api.post_under_key(&path, &wanted.key, &wanted.body()).await?, format)
        }
        Command::List(ListArgs { order_id }) => list(&api, &order_id, format).await,
        Command::Show(which) => show(&one(&api, &which).await?, format),
    }
}

async fn list(api: &Api, order_id: &str, format: Format) -> Result<()> {
    let refunds = api.get(&["v1", "orders", order_id, "refunds"], &[]).await?;
    match format {
        Format::Json => print(refunds)?,
        Format::Table => show_table(refunds.as_array().map_or(&[][..], Vec::as_slice), &COLUMNS)?,
    }
    Ok(())
}

async fn one(api: &Api, ShowArgs { order_id, number }: &ShowArgs) -> Result<Value, ApiError> {
    let refunds = api.get(&["v1", "orders", order_id, "refunds"], &[]).await?;
    let is_it =
        |one: &&Value| one.get("number").and_then(Value::as_u64) == Some(u64::from(*number));
    let found = refunds.as_array().into_iter().flatten().find(is_it);
    found.cloned().ok_or_else(|| {
        let why = format!("the order has no refund {number}");
        ApiError::Refused { status: StatusCode::NOT_FOUND, why }
    })
}

impl CreateArgs {
    /// The request body.
    fn body(&self) -> Value {
        let Self { amount, lines, shipping, reason, .. } = self;
        match amount {
            Some(amount) => json!({ "amount": amount, "reason": reason }),
            None => json!({ "lines": lines, "shipping": shipping, "reason": reason }),
        }
    }
}

/// Splits an amount as the tables show it. The API validates it.
fn money(text: &str) -> Result<Value, &'static str> {
    let (amount, currency) =
        text.split_once(' ').ok_or("an amount and its currency, such as \"10.00 GBP\"")?;
    Ok(json!({ "amount": amount, "currency": currency }))
}

/// Parses `SKU=QUANTITY`. The SKU may contain a `=`.
fn line(text: &str) -> Result<Value, &'static str> {
    let line = text.rsplit_once('=').and_then(|(sku, pieces)| Some((sku, pieces.parse().ok()?)));
    let (sku, quantity): (_, u32) =
        line.ok_or("an article and how many pieces of it, such as 85123A=2")?;
    Ok(json!({ "sku": sku, "quantity": quantity }))
}

/// Checks that a key can be sent as a header.
pub(crate) fn key(text: &str) -> Result<String, &'static str> {
    let is_key = (1..=255).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
    is_key.then(|| text.to_owned()).ok_or("1 to 255 visible ASCII characters")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        wanted: CreateArgs,
    }

    fn body(what: &[&str]) -> Option<Value> {
        let usual = ["create", "an-order", "--reason", "arrived broken", "--key", "k"];
        let program = Program::try_parse_from(usual.iter().chain(what)).ok()?;
        Some(program.wanted.body())
    }

    #[test]
    fn a_refund_is_of_an_amount_or_of_goods_and_shipping() {
        let reason = "arrived broken";
        let pounds = json!({ "amount": "10.00", "currency": "GBP" });
        assert_eq!(
            body(&["--amount", "10.00 GBP"]),
            Some(json!({ "amount": pounds, "reason": reason }))
        );
        let lines = json!([{ "sku": "85123A", "quantity": 2 }, { "sku": "A=B", "quantity": 1 }]);
        assert_eq!(
            body(&["--line", "85123A=2", "--line", "A=B=1"]),
            Some(json!({ "lines": lines, "shipping": false, "reason": reason }))
        );
        assert_eq!(
            body(&["--shipping"]),
            Some(json!({ "lines": [], "shipping": true, "reason": reason }))
        );
        for wrong in [
            &["--amount", "10.00"][..],
            &["--amount", "10.00 GBP", "--shipping"],
            &["--amount", "10.00 GBP", "--line", "85123A=2"],
            &["--line", "85123A"],
            &["--line", "85123A=many"],
            &[],
        ] {
            assert_eq!(body(wrong), None, "{wrong:?}");
        }
    }
}
