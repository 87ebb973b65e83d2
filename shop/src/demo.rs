//! The demo: places real orders, some with planned trouble, and shows how each ended.

mod disputes;
mod parties;
mod progress;
mod receiver;
mod report;
mod returns;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::ProviderName;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::ordersaga::{Answered, ApiArgs, ApiError, Order, Ordersaga};
use crate::plan::{Planned, Twist};
use crate::retail::{RetailError, RetailOrders};
use crate::stripe::{Counterpart, CounterpartError};
use parties::{Parties, ToldBy};
use progress::Progress;

/// Places real orders, some of them with planned trouble, and shows how each ended.
///
/// Exits with 0 only if every order ended as planned, every repeated request returned its first
/// order, every sink received every event, a consumer applied each of them, invoices equal the
/// charges, no mail is parked, and `ordersaga prove` holds; with Stripe, also only if `ordersaga
/// reconcile` finds no difference and Stripe's own records are correct.
#[derive(Clone, Args)]
pub(crate) struct Demo {
    /// Number of orders; the data is repeated if it has fewer
    #[arg(long, short = 'n', env = "N", default_value_t = 200)]
    count: usize,

    /// A file of orders, as JSON lines, plain or `.gz`; without it, the built-in sample.
    #[arg(long, env = "ORDERS")]
    orders: Option<PathBuf>,

    /// Concurrent requests
    #[arg(long, default_value_t = 16)]
    at_once: usize,

    /// The payment provider: the same as for worker and API. Bank transfers are not supported
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "sandbox",
        value_parser = PossibleValuesParser::new(["sandbox", "stripe"])
            .try_map(|name| name.parse::<ProviderName>()))]
    provider: ProviderName,

    /// The URL of Stripe's counterpart, if Stripe is the provider
    #[arg(long, env = "ORDERSAGA_STRIPE_URL")]
    stripe_counterpart: Option<String>,

    /// The secrets with which the counterpart signs webhooks, as set for the API; without them, it
    /// sends none
    #[arg(long, env = "STRIPE_WEBHOOK_SECRETS", hide_env_values = true)]
    webhook_secrets: Option<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// The secret of the client `books`, which may read the books
    #[arg(long, env = "ORDERSAGA_FINANCE_SECRET", hide_env_values = true)]
    finance_secret: String,

    /// The secret of the client `operator`, which may read the state of the sinks
    #[arg(long, env = "ORDERSAGA_OPERATOR_SECRET", hide_env_values = true)]
    operator_secret: String,

    #[command(flatten)]
    told_by: ToldBy,

    /// Seconds to retry a request without an answer, and to wait for the next order to end
    #[arg(long, default_value_t = 180)]
    patience_seconds: u64,

    /// When the launcher was started, in seconds since 1970: from then on the time until the first
    /// shipped order is counted
    #[arg(long, env = "ORDERSAGA_LAUNCHED_AT", hide = true)]
    launched_at: Option<u64>,

    /// Part of every idempotency key, so that another run places other orders; by default the time
    /// of day. A repeated run returns the same orders
    #[arg(long)]
    run: Option<String>,
}

/// Why the demo cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// There are no orders to place.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// The API does not return what the report needs.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The terminal failed.
    #[error("cannot write to the terminal")]
    Screen(#[from] std::io::Error),
    /// The latency histogram cannot be created.
    #[error("cannot count latencies")]
    Latencies(#[from] hdrhistogram::CreationError),
    /// Stripe's counterpart cannot be used.
    #[error(transparent)]
    Counterpart(#[from] CounterpartError),
    /// A refund has a wrong state.
    #[error("refund {number} is {state}")]
    NotReturned {
        /// The refund's number.
        number: u32,
        /// Its state.
        state: String,
    },
    /// The order has no payment to dispute.
    #[error("Stripe's counterpart has taken no payment for the order")]
    NotPaid,
    /// A dispute is not recorded as expected.
    #[error("of disputes there is {found}; one must be {wanted}")]
    NotDisputed {
        /// The recorded disputes.
        found: String,
        /// The expected state.
        wanted: &'static str,
    },
    /// The webhook receiver cannot listen.
    #[error("the demo cannot listen for webhooks")]
    Listen(#[source] std::io::Error),
    /// The new endpoint has no valid secret.
    #[error("the demo's webhook endpoint was created without a secret that can be read")]
    NoSecret,
    /// No relay reads for a configured sink.
    #[error("no relay reads for {sink}: its log says why")]
    NotRead {
        /// The sink.
        sink: String,
    },
    /// Python is missing, or the consumer's folder cannot be written.
    #[error("cannot run the consumer `examples/consumers/inbox.py`")]
    Consumer(#[source] std::io::Error),
    /// `ordersaga` is not located beside this program.
    #[error("cannot run `ordersaga prove`")]
    Prove(#[source] std::io::Error),
}

/// The results of one order.
#[derive(Debug)]
struct Outcome {
    planned: Planned,
    /// The first answer to its request.
    accepted: Result<Answered<Order>, ApiError>,
    /// Any other error: a rejected cancellation, or a repetition that returned another order.
    trouble: Option<String>,
    /// Whether the customer has approved or refused the payment.
    has_answered_bank: bool,
    /// How it ended, if it did.
    end: Option<End>,
}

/// The API clients, the provider and the time limit.
#[derive(Clone, Copy)]
struct Dealings<'a> {
    shop: &'a Ordersaga,
    /// The same API, as a client that may read disputes and books.
    finance: &'a Ordersaga,
    stripe: Option<&'a Counterpart>,
    patience: Duration,
}

#[derive(Debug)]
struct End {
    order: Order,
    /// From placement to its last event, by the clocks of starter and database.
    took: Duration,
}

/// The duration of each phase.
#[derive(Clone, Copy, Debug)]
struct Spans {
    until_placed: Duration,
    until_ended: Duration,
}

/// An event of an order.
#[derive(Debug, Deserialize)]
struct Event {
    sequence: u32,
    #[serde(rename = "type")]
    kind: String,
    data: Value,
    occurred_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct Events {
    items: Vec<Event>,
}

impl Outcome {
    /// Whether the order ended as planned, without other errors.
    fn is_as_planned(&self) -> bool {
        let ending = self.planned.twist.ending();
        let ended = self.end.as_ref().is_some_and(|end| ending.is_that_of(&end.order));
        ended && self.trouble.is_none()
    }
}

/// Runs the demo. Returns whether everything was correct.
pub(crate) async fn run(demo: &Demo) -> Result<bool, DemoError> {
    let patience = Duration::from_secs(demo.patience_seconds);
    let shop = Ordersaga::at(&demo.api, patience)?;
    let finance = shop.asked_by("books", &demo.finance_secret);
    let stripe = counterpart(demo)?;
    let read = RetailOrders::read(demo.orders.as_deref(), demo.count)?;
    report::opening(demo, &read)?;
    if let Some(stripe) = &stripe {
        stripe.tells(demo.api.url()).await?;
        stripe.begins_to_fail(demo.count).await?;
    }

    let planned = |(position, order)| Planned::of(position, order, demo.provider);
    let plan = read.orders.into_iter().map(planned).collect::<Vec<_>>();
    let dealings = Dealings { shop: &shop, finance: &finance, stripe: stripe.as_ref(), patience };
    let operator = shop.asked_by("operator", &demo.operator_secret);
    let parties = Parties::gather(&demo.told_by, dealings, operator, &plan).await?;
    let (mut outcomes, spans) = carry_out(demo, dealings, plan).await;
    if let Some(stripe) = &stripe {
        disputes::carry_out(dealings, stripe, &mut outcomes).await?;
    }
    report::closing(demo, dealings, parties, &outcomes, spans).await
}

/// Stripe's counterpart, if Stripe is the provider: the demo never uses a real account.
fn counterpart(demo: &Demo) -> Result<Option<Counterpart>, CounterpartError> {
    match demo.provider {
        ProviderName::Sandbox | ProviderName::BankTransfer => Ok(None),
        ProviderName::Stripe => {
            let secrets = demo.webhook_secrets.as_deref();
            Counterpart::at(demo.stripe_counterpart.as_deref(), secrets).map(Some)
        }
    }
}

async fn carry_out(
    demo: &Demo,
    dealings: Dealings<'_>,
    plan: Vec<Planned>,
) -> (Vec<Outcome>, Spans) {
    let shop = dealings.shop;
    let began = Instant::now();
    let run = demo.run.clone().unwrap_or_else(time_of_day);
    let progress = Progress::of(plan.len(), demo.launched_at);
    let (sender, receiver) = unbounded_channel();
    let mut plan = plan.into_iter();
    let placing = Box::pin(async {
        // The first order alone: it shows that everything works, long before the others have ended
        // on a slow machine.
        if let Some(first) = plan.next() {
            place(shop, &run, first, &progress, &sender).await;
            progress.until_one_has_ended(dealings.patience).await;
        }
        stream::iter(plan)
            .map(|planned| place(shop, &run, planned, &progress, &sender))
            .buffer_unordered(demo.at_once.max(1))
            .collect::<()>()
            .await;
        drop(sender);
        began.elapsed()
    });
    let watching = watch(dealings, receiver, &progress);
    let work = async { tokio::join!(placing, watching) };
    let (until_placed, outcomes) = progress.shown_while(work).await;
    progress.finish();
    (outcomes, Spans { until_placed, until_ended: began.elapsed() })
}

/// Sends the request, and the requests that the order's twist adds.
async fn place(
    shop: &Ordersaga,
    run: &str,
    planned: Planned,
    progress: &Progress,
    placed: &UnboundedSender<Outcome>,
) {
    let key = format!("invoice-{}-{run}", planned.invoice);
    let accepted = shop.place(&key, &planned.request).await;
    progress.placed();
    let trouble = match &accepted {
        Ok(first) => match planned.twist {
            Twist::Repeated => repeat(shop, &key, &planned, &first.answer.id).await,
            Twist::Cancelled => cancel(shop, &first.answer.id).await,
            Twist::Plain
            | Twist::FullAddress
            | Twist::Declined
            | Twist::OutOfStock
            | Twist::LostAnswer
            | Twist::AnsweredTwice
            | Twist::Slow
            | Twist::Unavailable
            | Twist::Outage
            | Twist::Approved
            | Twist::NotApproved
            | Twist::ApprovedInVain
            | Twist::ReturnedInPart
            | Twist::PaidInParts
            | Twist::PaidTooMuch
            | Twist::WrongReference
            | Twist::DisputeWon
            | Twist::DisputeLost
            | Twist::DisputeOpen
            | Twist::Undeliverable => None,
        },
        Err(error) => Some(error.to_string()),
    };
    // The watcher listens until all orders are placed.
    let has_answered_bank = false;
    let heard = placed.send(Outcome { planned, accepted, trouble, has_answered_bank, end: None });
    debug_assert!(heard.is_ok(), "an order was placed and not watched");
}

async fn repeat(shop: &Ordersaga, key: &str, planned: &Planned, first: &str) -> Option<String> {
    for _again in 0..2 {
        match shop.place(key, &planned.request).await {
            Ok(met) if met.answer.id == first => {}
            Ok(met) => return Some(format!("its repeat made order {}", met.answer.id)),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

async fn cancel(shop: &Ordersaga, order_id: &str) -> Option<String> {
    let cancelled = shop.cancel(order_id, "the customer has changed their mind").await;
    cancelled.err().map(|error| error.to_string())
}

/// Polls the open orders, a few at a time, until all have ended or no more do.
async fn watch(
    dealings: Dealings<'_>,
    mut placed: UnboundedReceiver<Outcome>,
    progress: &Progress,
) -> Vec<Outcome> {
    let (mut open, mut ended) = (VecDeque::new(), Vec::new());
    let mut last_end = Instant::now();
    loop {
        let all_placed = loop {
            match placed.try_recv() {
                Ok(outcome) if outcome.accepted.is_ok() => open.push_back(outcome),
                Ok(refused) => ended.push(refused),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if all_placed && (open.is_empty() || last_end.elapsed() > dealings.patience) {
            ended.extend(open);
            return ended;
        }
        let batch = open.drain(..open.len().min(WATCHED_AT_ONCE)).collect::<Vec<_>>();
        let looks = stream::iter(batch).map(|outcome| look(dealings, outcome));
        let looks = looks.buffer_unordered(LOOKS_AT_ONCE);
        for outcome in looks.collect::<Vec<_>>().await {
            if let Some(end) = &outcome.end {
                progress.ended(&end.order);
                last_end = Instant::now();
                ended.push(outcome);
            } else {
                open.push_back(outcome);
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Polling thousands of open orders continuously would be a load of its own.
const WATCHED_AT_ONCE: usize = 32;
const LOOKS_AT_ONCE: usize = 8;
const LOOK_PAUSE: Duration = Duration::from_millis(250);

async fn look(dealings: Dealings<'_>, mut outcome: Outcome) -> Outcome {
    if let Err(error) = look_at(dealings, &mut outcome).await {
        outcome.trouble = Some(error.to_string());
    }
    outcome
}

async fn look_at(dealings: Dealings<'_>, outcome: &mut Outcome) -> Result<(), DemoError> {
    let Ok(accepted) = &outcome.accepted else { return Ok(()) };
    let Dealings { shop, stripe, patience, .. } = dealings;
    let order = shop.show(&accepted.answer.id).await?;
    let twist = outcome.planned.twist;
    if !order.has_ended() {
        if let (Some(stripe), Some(page), Some(approves)) =
            (stripe, order.customers_link(), twist.answers_bank())
            && !outcome.has_answered_bank
        {
            stripe.answers_bank(page, approves).await?;
            outcome.has_answered_bank = true;
        }
        return Ok(());
    }
    let last = events(shop, &order.id).await?.pop().map(|event| event.occurred_at);
    let took = last.unwrap_or(order.placed_at).signed_duration_since(order.placed_at);
    let id = order.id.clone();
    outcome.end = Some(End { order, took: took.to_std().unwrap_or_default() });
    if twist == Twist::ReturnedInPart {
        returns::give_back_in_parts(shop, &id, patience).await?;
    }
    Ok(())
}

/// The events of an order, in order.
async fn events(shop: &Ordersaga, order_id: &str) -> Result<Vec<Event>, ApiError> {
    let path = format!("/v1/orders/{order_id}/events?limit=100");
    let events = shop.get::<Events>("asking for an order's events", &path).await?;
    Ok(events.items)
}

fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_secs())
}
