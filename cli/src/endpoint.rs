//! `ordersaga endpoint`.

use anyhow::Result;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::{Column, Format};
use crate::refund::key;

/// Webhook endpoints.
#[derive(Debug, clap::Args)]
pub(crate) struct EndpointArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the endpoints and their state
    List(ListArgs),
    /// Show an endpoint in full
    Show(EndpointId),
    /// Create an endpoint; its secret is shown only this once
    Create(CreateArgs),
    /// Change an endpoint's URL, description or events
    Change(ChangeArgs),
    /// Enable an endpoint again, from where it stopped
    Enable(EndpointId),
    /// Disable an endpoint; its messages wait
    Disable(EndpointId),
    /// Remove an endpoint and its waiting messages
    Remove(EndpointId),
    /// Create a new secret, which is shown only this once
    RotateSecret(RotateArgs),
    /// List delivery attempts, the newest first
    Deliveries(DeliveriesArgs),
    /// Deliver messages to an endpoint once more
    Redeliver(RedeliverArgs),
    /// Send an endpoint a trial message
    Test(EndpointId),
}

/// An endpoint's id.
#[derive(Debug, clap::Args)]
struct EndpointId {
    /// The endpoint's id
    endpoint_id: String,
}

/// Arguments of `endpoint list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only enabled, or only disabled ones
    #[arg(long, value_parser = PossibleValuesParser::new(["enabled", "disabled"]))]
    state: Option<String>,
    /// Entries per page
    #[arg(long)]
    limit: Option<u16>,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `endpoint create`.
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// The receiver's URL, which begins with https://
    // The name `url` is taken by the API's URL.
    #[arg(value_name = "URL")]
    endpoint_url: String,
    /// An idempotency key of your choice: a repeat with the same key creates no second endpoint
    #[arg(long, value_parser = key)]
    key: String,
    /// A description
    #[arg(long)]
    description: Option<String>,
    /// The events to send, separated by commas, such as order.placed; without it, all
    #[arg(long, value_delimiter = ',')]
    events: Vec<String>,
    /// The first events to send: those from now on, or the oldest that the shop still keeps
    #[arg(long, default_value = "now", value_parser = PossibleValuesParser::new(["now", "oldest"]))]
    begins_with: String,
}

/// Arguments of `endpoint change`.
#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// The endpoint's id
    endpoint_id: String,
    /// The receiver's new URL
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// A description
    #[arg(long)]
    description: Option<String>,
    /// The events to send from now on, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with = "all_events")]
    events: Option<Vec<String>>,
    /// Send all events
    #[arg(long)]
    all_events: bool,
}

/// Arguments of `endpoint rotate-secret`.
#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The endpoint's id
    endpoint_id: String,
    /// For how many seconds messages are also signed with the previous secret; 0 if it may have
    /// leaked; a day by default
    #[arg(long)]
    overlap_seconds: Option<u32>,
}

/// Arguments of `endpoint deliveries`.
#[derive(Debug, clap::Args)]
struct DeliveriesArgs {
    /// The endpoint's id
    endpoint_id: String,
    /// Only attempts at this message
    #[arg(long)]
    message: Option<String>,
    /// Entries per page
    #[arg(long)]
    limit: Option<u16>,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `endpoint redeliver`: which messages. All given conditions must hold.
#[derive(Debug, clap::Args)]
struct RedeliverArgs {
    /// The endpoint's id
    endpoint_id: String,
    /// Only this message
    #[arg(long, required_unless_present_any = ["order", "since"])]
    message: Option<String>,
    /// Only messages about this order
    #[arg(long)]
    order: Option<String>,
    /// Only events at this moment or later (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Only events before this moment (RFC 3339)
    #[arg(long)]
    before: Option<String>,
}

const COLUMNS: [Column; 7] = [
    ("ENDPOINT", "/endpoint_id"),
    ("URL", "/url"),
    ("STATE", "/state"),
    ("BECAUSE", "/disabled/because"),
    ("FAILING SINCE", "/failing_since"),
    ("WHY", "/last_failure"),
    ("DESCRIPTION", "/description"),
];

const DELIVERY_COLUMNS: [Column; 7] = [
    ("MESSAGE", "/message_id"),
    ("TYPE", "/type"),
    ("ATTEMPT", "/attempt"),
    ("AT", "/attempted_at"),
    ("OUTCOME", "/outcome"),
    ("STATUS", "/status"),
    ("WHY", "/failure"),
];

const VERSION: &str = "v1";
const ENDPOINTS: &str = "webhook-endpoints";

pub(crate) async fn run(args: EndpointArgs) -> Result<()> {
    let EndpointArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(which) => list(&api, which, format).await,
        Command::Show(EndpointId { endpoint_id }) => {
            show(&api.get(&[VERSION, ENDPOINTS, &endpoint_id], &[]).await?, format)
        }
        Command::Create(wanted) => {
            let body = wanted.body();
            show(&api.post_under_key(&[VERSION, ENDPOINTS], &wanted.key, &body).await?, format)
        }
        Command::Change(change) => {
            let path = [VERSION, ENDPOINTS, &change.endpoint_id];
            show(&api.patch(&path, &change.body()).await?, format)
        }
        Command::Enable(which) => set_state(&api, &which, "enabled", format).await,
        Command::Disable(which) => set_state(&api, &which, "disabled", format).await,
        Command::Remove(EndpointId { endpoint_id }) => {
            show(&api.delete(&[VERSION, ENDPOINTS, &endpoint_id]).await?, format)
        }
        Command::RotateSecret(RotateArgs { endpoint_id, overlap_seconds }) => {
            let overlap = overlap_seconds.map(|seconds| json!(seconds));
            let body = given([("overlap_seconds", overlap)]);
            post(&api, &endpoint_id, "rotate-secret", &body, format).await
        }
        Command::Deliveries(which) => deliveries(&api, which, format).await,
        Command::Redeliver(which) => {
            post(&api, &which.endpoint_id, "redeliver", &which.body(), format).await
        }
        Command::Test(EndpointId { endpoint_id }) => {
            post(&api, &endpoint_id, "test", &json!({}), format).await
        }
    }
}

impl CreateArgs {
    fn body(&self) -> Value {
        given([
            ("url", Some(json!(self.endpoint_url))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("events", Some(json!(self.events))),
            ("begins_with", Some(json!(self.begins_with))),
        ])
    }
}

impl ChangeArgs {
    fn body(&self) -> Value {
        let events = self.events.as_ref().map(|events| json!(events));
        given([
            ("url", self.endpoint_url.as_ref().map(|url| json!(url))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("events", if self.all_events { Some(json!([])) } else { events }),
        ])
    }
}

impl RedeliverArgs {
    fn body(&self) -> Value {
        let fields = [
            ("message_id", &self.message),
            ("order_id", &self.order),
            ("since", &self.since),
            ("before", &self.before),
        ];
        given(fields.map(|(name, text)| (name, text.as_ref().map(|text| json!(text)))))
    }
}

/// A JSON object of the fields that have a value.
fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

async fn list(api: &Api, which: ListArgs, format: Format) -> Result<()> {
    let ListArgs { state, limit, cursor } = which;
    let limit = limit.map(|limit| limit.to_string());
    let asked = [("state", state), ("limit", limit), ("cursor", cursor)];
    show_items(&api.get(&[VERSION, ENDPOINTS], &asked).await?, &COLUMNS, format)
}

async fn deliveries(api: &Api, which: DeliveriesArgs, format: Format) -> Result<()> {
    let DeliveriesArgs { endpoint_id, message, limit, cursor } = which;
    let limit = limit.map(|limit| limit.to_string());
    let asked = [("message_id", message), ("limit", limit), ("cursor", cursor)];
    let path = [VERSION, ENDPOINTS, &endpoint_id, "deliveries"];
    show_items(&api.get(&path, &asked).await?, &DELIVERY_COLUMNS, format)
}

async fn set_state(api: &Api, which: &EndpointId, state: &str, format: Format) -> Result<()> {
    let path = [VERSION, ENDPOINTS, &which.endpoint_id];
    show(&api.patch(&path, &json!({ "state": state })).await?, format)
}

async fn post(
    api: &Api,
    endpoint_id: &str,
    what: &str,
    body: &Value,
    format: Format,
) -> Result<()> {
    show(&api.post(&[VERSION, ENDPOINTS, endpoint_id, what], &[], body).await?, format)
}
