//! A shop's customers, who place orders at a constant rate, whatever fails.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::ChaosError;
use super::provider::Provider;
use crate::ordersaga::{Answered, ApiError, Cancelled, Order, Ordersaga};
use crate::plan::{Planned, Twist};
use crate::retail::RetailOrders;
use crate::screen::say;

/// A request and its results.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) planned: Planned,
    pub(super) key: String,
    pub(super) accepted: Result<Answered<Order>, ApiError>,
    /// When the shop received the answer.
    pub(super) answered_at: DateTime<Utc>,
    /// The answer to the cancellation, if the customer cancelled.
    pub(super) cancelled: Option<Result<Answered<Cancelled>, ApiError>>,
}

impl Asked {
    /// The customer takes the action that their order requires, if they know the order.
    async fn acted_upon(&self, shop: &Ordersaga, provider: &Provider) {
        if let Ok(placed) = &self.accepted {
            provider.customer_acts(shop, &placed.answer.id, self.planned.twist).await;
        }
    }

    /// The order's id, if the request was answered.
    pub(super) fn order_id(&self) -> Option<Uuid> {
        self.accepted.as_ref().ok().and_then(|placed| placed.answer.id.parse().ok())
    }
}

/// The customers and their rate.
pub(super) struct Customers {
    /// A client that retries until it is answered.
    pub(super) patient: Ordersaga,
    /// A client without retries. If set, one in this many customers uses it.
    pub(super) hasty: Option<Ordersaga>,
    pub(super) per_second: u32,
    /// The time limit for ordering, regardless of `enough`.
    pub(super) lasts_seconds: u32,
    /// How often the number of orders is printed.
    pub(super) says_every: Duration,
    /// The payment provider.
    pub(super) provider: Arc<Provider>,
}

/// One in this many customers does not retry without an answer.
const WALKS_AWAY_ONE_IN: usize = 10;

impl Customers {
    /// Places orders until `enough`; returns every request, once each has been answered or given
    /// up, and each customer has taken the action that their order required.
    pub(super) async fn order_until(
        &self,
        enough: impl Future<Output = ()>,
    ) -> Result<Vec<Asked>, ChaosError> {
        let (began, run) = (Instant::now(), format!("{:x}", new_seed()));
        let many = usize::try_from(self.per_second.saturating_mul(self.lasts_seconds));
        let mut orders = RetailOrders::read(None, many.unwrap_or(usize::MAX))?.orders.into_iter();
        let (mut asked, mut under_way) = (Vec::<Asked>::new(), JoinSet::new());
        let (mut enough, mut is_enough) = (pin!(enough), false);
        let mut pace =
            interval(Duration::from_secs(1).checked_div(self.per_second).unwrap_or_default());
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = interval(self.says_every);
        lines.tick().await;
        while !(is_enough && under_way.is_empty()) {
            tokio::select! {
                () = &mut enough, if !is_enough => is_enough = true,
                _ = pace.tick(), if !is_enough => if let Some((position, order)) = orders.next() {
                    let planned = Planned::of(position, order, self.provider.name());
                    let key = format!("chaos-{run}-{}", planned.invoice);
                    let (patient, provider) = (self.patient.clone(), Arc::clone(&self.provider));
                    let placing = place(self.shop_of(position), planned, key);
                    under_way.spawn(async move {
                        let asked = placing.await;
                        asked.acted_upon(&patient, &provider).await;
                        asked
                    });
                },
                Some(heard) = under_way.join_next() => {
                    asked.push(heard.map_err(io::Error::other)?);
                }
                _ = lines.tick() => {
                    let accepted = asked.iter().filter(|asked| asked.accepted.is_ok()).count();
                    say(format_args!(
                        "{:>5.1} s  {} requests answered, {accepted} of them accepted",
                        began.elapsed().as_secs_f32(),
                        asked.len(),
                    ))?;
                }
            }
        }
        Ok(asked)
    }

    fn shop_of(&self, position: usize) -> Ordersaga {
        let walks_away = position.checked_rem(WALKS_AWAY_ONE_IN) == Some(7);
        let hasty = self.hasty.as_ref().filter(|_| walks_away);
        hasty.unwrap_or(&self.patient).clone()
    }
}

/// Places an order, and cancels it if the plan says so.
pub(super) async fn place(shop: Ordersaga, planned: Planned, key: String) -> Asked {
    let accepted = shop.place(&key, &planned.request).await;
    let answered_at = DateTime::from(SystemTime::now());
    let cancelled = match (&accepted, planned.twist) {
        (Ok(placed), Twist::Cancelled) => Some(shop.cancel(&placed.answer.id, REASON).await),
        _ => None,
    };
    Asked { planned, key, accepted, answered_at, cancelled }
}

/// The customers' reason for cancelling.
pub(super) const REASON: &str = "the customer has changed their mind";

/// A different one each second, and short enough to type.
pub(super) fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs()
}
