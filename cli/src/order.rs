//! `ordersaga order`.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::api_client::{Api, ApiError, ClientArgs, StreamEvent};
use crate::output::{Column, Format, Visible, details, print, table, text};

/// Orders.
#[derive(Debug, clap::Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List orders, newest first
    List(ListArgs),
    /// Show an order in full
    Show(OrderId),
    /// Show an order's events as they happen, until it has ended
    Watch(OrderId),
    /// Cancel an order, if it is not too late
    Cancel(CancelArgs),
    /// Report that the customer has received the parcel
    Deliver(DeliverArgs),
    /// Decide about an order that waits for a person
    Resolve(ResolveArgs),
}

/// An order's id.
#[derive(Debug, clap::Args)]
struct OrderId {
    /// The order's id
    order_id: String,
}

/// Arguments of `order list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only this customer's orders
    #[arg(long)]
    customer: Option<String>,
    /// One status, or several separated by commas
    #[arg(long)]
    status: Option<String>,
    /// Placed at this moment or later (RFC 3339)
    #[arg(long)]
    placed_from: Option<String>,
    /// Placed before this moment (RFC 3339)
    #[arg(long)]
    placed_before: Option<String>,
    /// Text to search for: the start of the order's id or customer id, or a SKU, a discount code or
    /// a tracking number of the order
    #[arg(long)]
    search: Option<String>,
    /// How many to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `order cancel`.
#[derive(Debug, clap::Args)]
struct CancelArgs {
    /// The order's id
    order_id: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    reason: String,
    /// Only show what cancelling would do
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `order deliver`.
#[derive(Debug, clap::Args)]
struct DeliverArgs {
    /// The order's id
    order_id: String,
    /// When it was delivered (RFC 3339); without it, now
    #[arg(long)]
    at: Option<String>,
}

/// Arguments of `order resolve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResolveArgs {
    /// The order's id
    order_id: String,
    /// `retry`: the cause is repaired; `skip`: go on without the step; `accept-as-done`: the effect
    /// to be undone is final, such as a parcel that has left
    #[arg(value_parser = PossibleValuesParser::new(["retry", "skip", "accept-as-done"]))]
    decision: String,
    /// The step to decide about, as `attention list` names it
    #[arg(long)]
    step: String,
    /// The occurrence to decide about, as `attention list` numbers it
    #[arg(long)]
    occurrence: u32,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

const COLUMNS: [Column; 8] = [
    ("ORDER", "/order_id"),
    ("PLACED", "/placed_at"),
    ("CUSTOMER", "/customer_id"),
    ("TOTAL", "/totals/total"),
    ("STATUS", "/status"),
    ("PAYMENT", "/payment_status"),
    ("FULFILMENT", "/fulfilment_status"),
    ("TRACKING", "/tracking"),
];

pub(crate) async fn run(args: OrderArgs) -> Result<()> {
    let OrderArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(which) => list(&api, which, format).await,
        Command::Show(OrderId { order_id }) => {
            show(&api.get(&["v1", "orders", &order_id], &[]).await?, format)
        }
        Command::Watch(OrderId { order_id }) => watch(&api, &order_id, format).await,
        Command::Cancel(which) => cancel(&api, &which, format).await,
        Command::Deliver(which) => deliver(&api, &which, format).await,
        Command::Resolve(decision) => resolve(&api, &decision, format).await,
    }
}

async fn list(api: &Api, which: ListArgs, format: Format) -> Result<()> {
    let filters = [
        ("customer_id", which.customer),
        ("status", which.status),
        ("placed_from", which.placed_from),
        ("placed_before", which.placed_before),
        ("q", which.search),
    ];
    let page = full_page(api, &filters, which.limit, which.cursor).await?;
    show_items(&page, &COLUMNS, format)
}

/// Reads a page of orders. The API scans a bounded number of orders for each page, so its page may
/// be short although the list goes on; this one follows the cursor until it is full or the list
/// ends.
async fn full_page(
    api: &Api,
    filters: &[(&str, Option<String>)],
    limit: u16,
    mut cursor: Option<String>,
) -> Result<Value, ApiError> {
    let limit = usize::from(limit);
    let mut items = Vec::new();
    loop {
        let missing = limit.saturating_sub(items.len());
        let mut parameters = filters.to_vec();
        parameters.extend([("limit", Some(missing.to_string())), ("cursor", cursor)]);
        let mut page = api.get(&["v1", "orders"], &parameters).await?;
        if let Some(read) = page.get_mut("items").and_then(Value::as_array_mut) {
            items.append(read);
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || items.len() >= limit {
            break;
        }
    }
    Ok(match cursor {
        Some(cursor) => json!({ "items": items, "next_cursor": cursor }),
        None => json!({ "items": items }),
    })
}

/// Prints a page as the API returns it: `items`, and the cursor of the next page.
pub(crate) fn show_items(page: &Value, columns: &[Column], format: Format) -> Result<()> {
    if format == Format::Json {
        print(page)?;
        return Ok(());
    }
    let items = page.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    show_table(items, columns)?;
    if let Some(cursor) = page.get("next_cursor").and_then(Value::as_str) {
        print(format_args!("\nmore: --cursor {cursor}"))?;
    }
    Ok(())
}

/// A table of the items, or a note that there are none.
pub(crate) fn show_table(items: &[Value], columns: &[Column]) -> Result<()> {
    if items.is_empty() {
        print("none")?;
    } else {
        print(table(items, columns))?;
    }
    Ok(())
}

/// Prints every field of an answer.
pub(crate) fn show(value: &Value, format: Format) -> Result<()> {
    match format {
        Format::Json => print(value)?,
        Format::Table => print(details(value))?,
    }
    Ok(())
}

async fn cancel(api: &Api, which: &CancelArgs, format: Format) -> Result<()> {
    let dry_run = which.dry_run.then(|| "true".to_owned());
    let path = ["v1", "orders", &which.order_id, "cancel"];
    let body = json!({ "reason": which.reason });
    show(&api.post(&path, &[("dry_run", dry_run)], &body).await?, format)
}

async fn deliver(api: &Api, which: &DeliverArgs, format: Format) -> Result<()> {
    let path = ["v1", "orders", &which.order_id, "delivery"];
    show(&api.post(&path, &[], &json!({ "delivered_at": which.at })).await?, format)
}

pub(crate) async fn resolve(api: &Api, decision: &ResolveArgs, format: Format) -> Result<()> {
    let path = ["v1", "orders", &decision.order_id, "resolve"];
    let ResolveArgs { decision: what, step, occurrence, why, .. } = decision;
    let body = json!({ "step": step, "occurrence": occurrence, "decision": what, "why": why });
    show(&api.post(&path, &[], &body).await?, format)
}

/// The pause before an interrupted stream is reopened.
const PAUSE: Duration = Duration::from_secs(1);

/// Resumes an interrupted stream: the API closes each stream after some minutes, and may be
/// restarted.
async fn watch(api: &Api, order_id: &str, format: Format) -> Result<()> {
    let mut last: Option<String> = None;
    loop {
        match follow(api, order_id, format, &mut last).await {
            Ok(Followed::ToTheEnd) => return Ok(()),
            Ok(Followed::UntilClosed) => {}
            Err(error) => {
                let passing = error.downcast_ref::<ApiError>().is_some_and(ApiError::is_passing);
                if last.is_none() || !passing {
                    return Err(error);
                }
                tracing::warn!("{}; trying again", Visible(error.to_string()));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Why a stream ended.
enum Followed {
    /// The order has ended; no more events will come.
    ToTheEnd,
    /// The API has closed the stream; it can be reopened.
    UntilClosed,
}

async fn follow(
    api: &Api,
    order_id: &str,
    format: Format,
    last: &mut Option<String>,
) -> Result<Followed> {
    let path = ["v1", "orders", order_id, "events"];
    let Some(mut events) = api.stream(&path, last.as_deref()).await? else {
        return Ok(Followed::ToTheEnd);
    };
    while let Some(StreamEvent { id, data }) = events.try_next().await? {
        match format {
            Format::Json => print(&data)?,
            Format::Table => print(line_of(&data))?,
        }
        *last = Some(id);
    }
    Ok(Followed::UntilClosed)
}

/// An event on one line: time, type and data.
fn line_of(event: &Value) -> String {
    let field = |name: &str| event.get(name).map_or_else(String::new, text);
    let particulars = event.get("data").and_then(Value::as_object).into_iter().flatten();
    let particulars: Vec<_> = particulars
        .filter(|(_, value)| !value.is_object() && !value.is_array() && !value.is_null())
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    let line =
        format!("{:<27}  {:<26}  {}", field("occurred_at"), field("type"), particulars.join(" "));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_plain_particulars() {
        let event = json!({
            "sequence": 3, "type": "order.shipped", "occurred_at": "2026-01-01T00:00:00Z",
            "data": {"tracking": "GB123", "lines": [], "note": null},
        });
        let expected = "2026-01-01T00:00:00Z         order.shipped               tracking=GB123";
        assert_eq!(line_of(&event), expected);
    }
}
