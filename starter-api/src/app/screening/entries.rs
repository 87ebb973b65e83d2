//! The block and allow lists.

use chrono::{DateTime, Utc};
use domain::screening::{ListKind, Network, Subject};
use domain::{CustomerId, OrderId, PaymentToken};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::{line_of_text, number_as_written};
use crate::app::orders::{parse_id, read};
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// An entry of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListEntry {
    /// Its id.
    #[schema(example = "1")]
    entry_id: String,
    /// The list: block or allow.
    #[schema(value_type = ListKind)]
    list: String,
    /// The kind of subject.
    #[schema(value_type = Subject)]
    kind: String,
    /// The customer's id, or the network. For a payment method or an address, only a fingerprint is
    /// stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "17850")]
    value: Option<String>,
    /// Why.
    #[schema(example = "three payments were charged back")]
    why: String,
    /// Who listed it, as named by their token.
    #[schema(example = "eve")]
    listed_by: String,
    /// When it was listed.
    listed_at: DateTime<Utc>,
}

/// A new entry, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryInput<'a> {
    pub(crate) list: ListKind,
    pub(crate) kind: Subject,
    pub(crate) value: Option<&'a str>,
    pub(crate) order_id: Option<&'a str>,
    pub(crate) why: &'a str,
}

/// The subject of a new entry.
enum About {
    /// The given value.
    Value(String),
    /// The subject of an order.
    Order(OrderId),
}

/// Lists entries, newest first.
pub(crate) async fn list(
    app: &App,
    before: Option<i64>,
    size: PageSize,
) -> Result<Page<ListEntry>, Problem> {
    let entries = sqlx::query_as!(
        ListEntry,
        r#"select entry_id::text as "entry_id!", list, kind, shown as value, why, listed_by,
               listed_at
           from fraud.entries where $1::bigint is null or entry_id < $1
           order by entry_id desc limit $2"#,
        before,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("reading the lists of screening")?;
    Ok(Page::of(entries, size, |last| last.entry_id.clone()))
}

/// Adds a subject to a list: a customer, a network, a payment method, or that of an order.
///
/// **Repeats.** A subject has one entry; the latest list and reason replace earlier ones.
///
/// **Errors.** 422 if neither a value nor an order is given, or the order has no such subject; 404
/// if there is no such order.
pub(crate) async fn add(
    app: &App,
    caller: &Caller,
    input: &EntryInput<'_>,
) -> Result<ListEntry, Problem> {
    const DOING: &str = "adding to a list of screening";
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(input.why, 200));
    let about = about(&mut rules, input);
    let (why, about) = rules.kept(why.zip(about))?;
    let (value, order_id) = match about {
        About::Value(value) => (Some(value), None),
        About::Order(order_id) => {
            read::read(app, caller, order_id).await?;
            (None, Some(order_id.uuid()))
        }
    };
    let entry_id = add_entry(app, caller, input, value.as_deref(), order_id, &why).await?;
    let Some(entry_id) = entry_id else {
        let mut rules = Rules::default();
        rules.broken("/kind", format_args!("the order has no {} that is known", input.kind));
        return rules.kept(None);
    };
    tracing::warn!(by = caller.name(), list = %input.list, kind = %input.kind, entry_id, "listed");
    let entry = sqlx::query_as!(
        ListEntry,
        r#"select entry_id::text as "entry_id!", list, kind, shown as value, why, listed_by,
               listed_at
           from fraud.entries where entry_id = $1"#,
        entry_id,
    );
    entry.fetch_one(&app.database).await.or_problem(DOING)
}

async fn add_entry(
    app: &App,
    caller: &Caller,
    input: &EntryInput<'_>,
    value: Option<&str>,
    order_id: Option<Uuid>,
    why: &str,
) -> Result<Option<i64>, Problem> {
    sqlx::query_scalar!(
        "select fraud.add_entry($1, $2, $3, $4, $5, $6)",
        input.list.name(),
        input.kind.name(),
        value,
        order_id,
        why,
        caller.name(),
    )
    .fetch_one(&app.database)
    .await
    .or_problem("adding to a list of screening")
}

/// Removes an entry from its list; returns the entry as it was.
///
/// **Errors.** 404 if there is no such entry.
pub(crate) async fn remove(
    app: &App,
    caller: &Caller,
    entry_id: &str,
) -> Result<ListEntry, Problem> {
    let none = || Problem::new(Kind::EntryNotFound, "There is no entry with this id.");
    let entry_id = number_as_written::<i64>(entry_id).ok_or_else(none)?;
    let removed = sqlx::query_as!(
        ListEntry,
        r#"delete from fraud.entries where entry_id = $1
           returning entry_id::text as "entry_id!", list, kind, shown as value, why, listed_by,
               listed_at"#,
        entry_id,
    )
    .fetch_optional(&app.database)
    .await
    .or_problem("removing from a list of screening")?;
    let removed = removed.ok_or_else(none)?;
    tracing::warn!(by = caller.name(), list = removed.list, entry_id, "taken off a list");
    Ok(removed)
}

fn about(rules: &mut Rules, input: &EntryInput<'_>) -> Option<About> {
    match (input.value, input.order_id) {
        (Some(value), None) => rules.check("/value", checked(input.kind, value)).map(About::Value),
        (None, Some(order_id)) => {
            let order_id = parse_id(order_id).map_err(|_none| "an order's id");
            rules.check("/order_id", order_id).map(About::Order)
        }
        (Some(_), Some(_)) | (None, None) => {
            rules.broken("/value", "either a `value` or an `order_id`");
            None
        }
    }
}

/// Validates a value and brings it into the form that is compared.
fn checked(kind: Subject, value: &str) -> Result<String, String> {
    match kind {
        Subject::Customer => {
            let customer = CustomerId::parse(value).map_err(|error| error.to_string())?;
            Ok(customer.to_string())
        }
        Subject::PaymentMethod => {
            let token = PaymentToken::parse(value).map_err(|error| error.to_string())?;
            Ok(token.as_str().to_owned())
        }
        Subject::Network => {
            let network = Network::parse(value).map(|network| network.as_str().to_owned());
            network.ok_or_else(|| {
                "an address, or its network with 24 bits (IPv4) or 48 (IPv6)".to_owned()
            })
        }
        Subject::Address => Err("an address is named by the `order_id` of an order".to_owned()),
    }
}
