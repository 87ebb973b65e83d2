//! Places an order: idempotently and durably.
//!
//! With a warm catalogue, an order costs its share of one statement, which inserts a whole batch of
//! orders. That statement also detects repeats; only then is the existing order read. The launch
//! happens after the response.

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

/// The shortest interval at which a waiting request polls the record.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// With this many waiting requests, each polls half as often as a single one.
const WAITING_FREELY: usize = 64;

/// Counter of accepted orders, labelled by whether the request was a repeat.
pub(crate) const ORDERS_ACCEPTED: &str = "ordersaga_orders_accepted_total";

/// An idempotency key, chosen by the caller.
///
/// **Shape.** 1 to 255 visible ASCII characters. Quotes around it, as in the IETF draft, are not
/// part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

/// How long a request waits for an order to be decided, and the concurrency slot that it releases
/// meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) seconds: u32,
    pub(crate) turn: Turn,
}

/// An order placed by this request, or by the one that it repeats.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The order in the response.
    pub(crate) resource: OrderResource,
    /// Whether this is a repeat.
    pub(crate) replayed: bool,
    /// The maximum wait in seconds, if the order was decided within it.
    pub(crate) decided_within: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
#[error("it was on record and then was not")]
struct Vanished;

impl IdempotencyKey {
    /// The stored key, without quotes.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the key, removing the quotes of a structured field's string (RFC 9651).
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

/// Places an order, or finds the one placed before under the same key.
///
/// If the caller waits, the response is sent when the order is paid or rejected, when its customer
/// has to act, or after that time. If the maximum number of waiting requests is reached, in total
/// or for this caller, it is sent at once.
///
/// **Repeats.** Idempotent: the order's id is derived from the customer and the key, so a repeat
/// finds the first request's order.
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
        // A request that is refused now may be a repeat of one that was accepted at another price
        // or with a smaller backlog. It then gets the earlier answer.
        Err(problem) if repeatable => match store::find(&app.database, order_id).await {
            Ok(Some(stored)) => placing.repeated(stored).await,
            Ok(None) | Err(_) => Err(problem),
        },
        Err(problem) => Err(problem),
    }
}

/// Prices the order, and checks that it is the price that the customer was shown.
async fn price(app: &App, command: &PlaceOrder) -> Result<Priced, Problem> {
    let priced = app.price(&command.basket).await?;
    match command.expected_total {
        Some(expected) if expected != priced.prices.totals.total => {
            Err(Problem::price_changed(expected, priced.prices.totals.total))
        }
        Some(_) | None => Ok(priced),
    }
}

/// What the response needs, for a new order and for a repeat.
struct Placing<'a> {
    app: &'a App,
    caller: &'a Caller,
    order_id: OrderId,
    fingerprint: Fingerprint,
    wait: Option<Wait>,
}

impl Placing<'_> {
    /// Records the order and launches it; `None` if it was recorded before.
    async fn place(&self, command: &PlaceOrder) -> Result<Option<Order>, Problem> {
        let app = self.app;
        let priced = price(app, command).await?;
        let admission = app.launcher.admit()?;
        let order = Arc::new(self.order(command, priced)?);
        // The customer's network is stored only for screening.
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
            // Truncated to the database's precision, so that the response shows what is stored.
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
        // A repeat gets the same response as the first request, even if the order has progressed
        // since. A caller who wants the current status waits for it, or reads the order.
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
    /// Limits the wait to the allowed maximum; `None` if that is zero.
    pub(crate) fn allowed_by(mut self, app: &App) -> Option<Self> {
        self.seconds = self.seconds.min(app.settings.wait_seconds_max);
        (self.seconds > 0).then_some(self)
    }

    /// The order once it is paid or rejected or its customer has to act; or its current state when
    /// the time is over or the process is stopping. The request itself has succeeded already, so an
    /// error while waiting is not an error of the request, and neither is a full limit of waiting
    /// requests: it is answered without waiting.
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

/// The longest polling interval: the more requests wait, the longer it is, so that polling leaves
/// enough of the database to others.
fn pause_max(app: &App) -> Duration {
    let times = app.waits.taken().div_euclid(WAITING_FREELY).saturating_add(1);
    PAUSE_MAX.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}
