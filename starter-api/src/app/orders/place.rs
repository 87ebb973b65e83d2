//! Places an order: once, and so that it cannot be lost.
//!
//! With a warm catalogue an order costs its share of one statement, which puts all orders on record
//! that have come meanwhile. A repeat is found by that statement; only then is the order on record
//! read. Its launch follows the answer.

pub(crate) mod command;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SubsecRound, Utc};
use domain::{Destination, Fingerprint, Money, Order, OrderId, OrderState, Terms};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::App;
use crate::app::catalogue::Priced;
use crate::app::orders::place::command::PlaceOrder;
use crate::app::orders::placer::Placement;
use crate::app::orders::{OrderResource, StoredOrder, store};
use crate::app::turn::Turn;
use crate::error::{Kind, Problem};
use crate::identity::Caller;

/// How soon and how often at least a caller's wait looks at the record.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// With so many callers waiting, each looks half as often as one alone.
const WAITING_FREELY: usize = 64;

/// Orders accepted, by whether the request was a repeat.
pub(crate) const ORDERS_ACCEPTED: &str = "ordersaga_orders_accepted_total";

/// The caller's name for a request, under which it may be repeated.
///
/// **Shape.** 1 to 255 visible ASCII characters. Within quotes, as the IETF's draft writes it, it
/// is the same key as without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

/// How long a caller waits for an order to be decided, and the place that it gives up meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) seconds: u32,
    pub(crate) turn: Turn,
}

/// An order that was placed, by this request or by the one that it repeats.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The order as it is answered.
    pub(crate) resource: OrderResource,
    /// Whether this repeats an answer.
    pub(crate) replayed: bool,
    /// The seconds that were waited for at most, if the order was decided within them.
    pub(crate) decided_within: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
#[error("it was on record and then was not")]
struct Vanished;

impl IdempotencyKey {
    /// The key as it is kept, without quotes around it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the key, without the quotes of a structured field's string (RFC 9651).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let inner = match text.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => text,
        };
        let is_plain = !inner.contains(['"', '\\']) || inner == text;
        let is_visible = inner.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=255).contains(&inner.len()) && is_plain && is_visible;
        fits.then(|| Self(inner.to_owned()))
    }
}

/// Places an order, or finds that it was placed before under the same key.
///
/// If the caller waits, the answer comes when the order is paid or refused or its customer has to
/// do something, or after that time as it stands then; at once, if as many wait as may, or as many
/// of this caller.
///
/// **Repeats.** The order's id is derived from the customer and the key, so a repeat finds the
/// first request's order.
pub(crate) async fn place(
    app: &App,
    caller: &Caller,
    command: &PlaceOrder,
    key: Option<&IdempotencyKey>,
    wait: Option<Wait>,
) -> Result<Placed, Problem> {
    let (order_id, repeatable) = match key {
        Some(key) => (OrderId::for_request(&command.customer_id, &key.0), true),
        None => (OrderId::of(Uuid::now_v7()), false),
    };
    let wait = wait.and_then(|wait| wait.allowed_by(app));
    let placing = Placing { app, caller, order_id, fingerprint: command.fingerprint(), wait };

    match placing.place(command).await {
        Ok(Some(order)) => Ok(placing.first(order).await),
        Ok(None) => match store::find(&app.database, order_id).await? {
            Some(stored) => placing.repeated(stored).await,
            None => Err(Problem::internal("looking for an order that was placed", &Vanished)),
        },
        // What is refused now may have been accepted a moment ago: at another price, or when fewer
        // orders waited. It is answered as then.
        Err(problem) if repeatable => match store::find(&app.database, order_id).await {
            Ok(Some(stored)) => placing.repeated(stored).await,
            Ok(None) | Err(_) => Err(problem),
        },
        Err(problem) => Err(problem),
    }
}

/// The price, if it is the one that the customer was shown.
async fn price(app: &App, command: &PlaceOrder) -> Result<Priced, Problem> {
    let priced = app.price(&command.basket).await?;
    match command.expected_total {
        Some(expected) if expected != priced.prices.totals.total => {
            Err(Problem::price_changed(expected, priced.prices.totals.total))
        }
        Some(_) | None => Ok(priced),
    }
}

/// What the answer needs, whether the order is new or repeated.
struct Placing<'a> {
    app: &'a App,
    caller: &'a Caller,
    order_id: OrderId,
    fingerprint: Fingerprint,
    wait: Option<Wait>,
}

impl Placing<'_> {
    /// Puts the order on record, and has it launched; nothing if it was on record.
    async fn place(&self, command: &PlaceOrder) -> Result<Option<Order>, Problem> {
        let app = self.app;
        let priced = price(app, command).await?;
        let admission = app.launcher.admit()?;
        let order = Arc::new(self.order(command, priced)?);
        // Where an order comes from is kept for those who screen it, and for nobody else.
        let network = command.network.clone().filter(|_network| order.terms.screening.is_some());
        let placement = Placement {
            order: Arc::clone(&order),
            fingerprint: self.fingerprint.clone(),
            recipient: command.recipient.clone(),
            network,
            launch_after: admission.launch_after(),
        };
        if !app.placer.place(placement).await? {
            return Ok(None);
        }
        app.launcher.launch(&order, admission);
        Ok(Some(Arc::unwrap_or_clone(order)))
    }

    /// The order at these prices.
    fn order(&self, command: &PlaceOrder, priced: Priced) -> Result<Order, Problem> {
        let Priced { prices, discount_code } = priced;
        let nothing = || Money::zero(prices.totals.total.currency());
        let cost_of_goods = prices.cost_of_goods.map_or_else(nothing, Ok);
        let settings = self.app.settings;
        Ok(Order {
            order_id: self.order_id,
            customer_id: command.customer_id.clone(),
            // The database keeps microseconds; the customer must be shown what it keeps.
            placed_at: DateTime::<Utc>::from(SystemTime::now()).trunc_subsecs(6),
            record_version: 1,
            cost_of_goods: cost_of_goods
                .map_err(|error| Problem::internal("adding up what an order costs", &error))?,
            lines: prices.lines,
            totals: prices.totals,
            discount_code,
            ship_to: Destination {
                country: command.basket.country,
                address_id: command.recipient.as_ref().map(|recipient| recipient.address_id),
            },
            payment_token: command.payment_token.clone(),
            terms: Terms {
                cancel_window_seconds: command
                    .cancel_window_seconds
                    .unwrap_or(settings.cancel_window_seconds),
                patience_seconds: command.patience_seconds.or(settings.patience_seconds),
                capture_at: settings.capture_at,
                approval_seconds: settings.approval_seconds,
                payment_retry_seconds: command
                    .payment_retry_seconds
                    .unwrap_or(settings.payment_retry_seconds),
                screening: settings.screening,
            },
        })
    }

    async fn first(self, order: Order) -> Placed {
        metrics::counter!(ORDERS_ACCEPTED, "repeat" => "no").increment(1);
        self.placed(OrderResource::placed(order)).await
    }

    async fn repeated(self, stored: StoredOrder) -> Result<Placed, Problem> {
        if stored.fingerprint != self.fingerprint.as_str() {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "This customer has sent another order under the same Idempotency-Key. Use a new \
                 key for a new order.",
            ));
        }
        metrics::counter!(ORDERS_ACCEPTED, "repeat" => "yes").increment(1);
        // A repeat is answered like the first request, though the order may have moved on since.
        // A caller who wants to know its status waits for it, or reads the order.
        let resource = if self.wait.is_none() {
            let (state, customer_action) = (OrderState::placed(), None);
            OrderResource { state, customer_action, ..stored.resource }
        } else {
            stored.resource
        };
        Ok(Placed { replayed: true, ..self.placed(resource).await })
    }

    async fn placed(self, mut resource: OrderResource) -> Placed {
        let mut decided_within = None;
        if let Some(wait) = &self.wait {
            resource = wait.until_decided(self.app, self.caller, resource).await;
            decided_within = resource.is_decided().then_some(wait.seconds);
        }
        Placed { resource, replayed: false, decided_within }
    }
}

impl Wait {
    /// The same, no longer than a caller may wait; nothing if that is no time at all.
    pub(crate) fn allowed_by(mut self, app: &App) -> Option<Self> {
        self.seconds = self.seconds.min(app.settings.wait_seconds_max);
        (self.seconds > 0).then_some(self)
    }

    /// The order once it is paid or refused or its customer has to do something, or as it stands
    /// when the time is over or the process is about to end. The request has been carried out
    /// already, so a failure to learn more is not a failure of the request. Nor is one too many
    /// that waits: it is answered like one that does not.
    pub(crate) async fn until_decided(
        &self,
        app: &App,
        caller: &Caller,
        mut resource: OrderResource,
    ) -> OrderResource {
        let Ok(_waiting) = app.waits.take(self.turn.callers(caller)) else { return resource };
        self.turn.give_up();
        let patience = Duration::from_secs(self.seconds.into());
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        while !resource.is_decided() {
            let left = patience.saturating_sub(begun.elapsed());
            let pausing = app.leaving.run_until_cancelled(sleep(pause.min(left)));
            if left.is_zero() || pausing.await.is_none() {
                break;
            }
            pause = pause.saturating_mul(2).min(pause_max(app));
            match store::find(&app.database, resource.order_id).await {
                Ok(Some(stored)) => resource = stored.resource,
                Ok(None) | Err(_) => break,
            }
        }
        resource
    }
}

/// How often at least the record is looked at: the more wait, the less often each, so that all of
/// them together leave the database to others.
fn pause_max(app: &App) -> Duration {
    let times = app.waits.taken().div_euclid(WAITING_FREELY).saturating_add(1);
    PAUSE_MAX.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}
