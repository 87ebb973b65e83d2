//! Every call to the payment provider hangs for a while, and is answered afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::ProviderName;
use futures::try_join;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    BACK_WITHIN, GoesOn, OTHERS_WITHIN, SECOND, Span, Stall, about, accepted, back, between,
    happened, not_ended_as, now, stall, usual, went_on, while_orders_come_in,
};
use crate::chaos::disasters::LONG_WINDOW;
use crate::chaos::records::Happened;
use crate::chaos::{ChaosError, Ground, checks};
use crate::prove::prove;
use crate::screen::{heading, say};

const HANGS: Duration = Duration::from_secs(15);

/// The time between placing orders whose windows end during the hang and its start: long enough for
/// them to be paid.
const LEAD: Duration = Duration::from_secs(8);

/// At Stripe's counterpart, a call that hangs is never answered and times out after 20 s; if it was
/// a probe, the circuit breaker stays open for 10 s more.
const BACK_WITHIN_AT_STRIPE: Duration = Duration::from_secs(40);

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Actions during the hang that need no provider.
struct Hung {
    span: Span,
    /// They were paid before, and shipped during the hang, one per second.
    to_ship: Vec<Uuid>,
    cancels: Vec<DateTime<Utc>>,
    reads: Vec<DateTime<Utc>>,
    health: Vec<DateTime<Utc>>,
}

pub(in crate::chaos) async fn run(
    ground: &Ground,
    stalls: &mut Vec<Stall>,
) -> Result<bool, ChaosError> {
    heading(format_args!(
        "every call to the payment provider hangs for {} s while {} orders a second come in",
        HANGS.as_secs(),
        ground.per_second
    ))?;
    let seconds = usize::try_from(HANGS.as_secs()).unwrap_or_default();
    let to_cancel = ground.in_their_window(seconds, ground.card(), LONG_WINDOW).await?;
    let hanging = Box::pin(hang(ground, &to_cancel));
    let (asked, hung) = while_orders_come_in(ground, hanging).await?;
    let left = to_cancel.iter().skip(hung.cancels.len()).copied();
    ground.cancel(&left.collect::<Vec<_>>()).await?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let events = ground.records.events().await?;

    let Hung { span, to_ship, cancels, reads, health } = hung;
    let shipped = |one: &Happened| one.event == "order.shipped" && to_ship.contains(&one.order_id);
    let others = [
        accepted(&asked),
        happened("… and reserve their stock", &events, |one| one.event == "stock.reserved"),
        happened("orders that are paid are shipped", &events, shipped),
        GoesOn { promise: "cancels are answered", at: cancels },
        GoesOn { promise: "orders are shown", at: reads },
        GoesOn { promise: "worker and starter say that they serve", at: health },
    ];
    let (mut found, stood_still_for) = went_on(&others, span, OTHERS_WITHIN);
    let after = payments_after(span, &events);
    let within = back_within(ground.provider.name());
    found.push(back("orders that waited are paid once it answers", after.len(), &after, within));
    found.push(about(
        "those that were paid are completed",
        to_ship.len(),
        not_ended_as("completed", &to_ship, &statuses),
    ));
    found.push(about(
        "those that were cancelled end so, their money returned",
        to_cancel.len(),
        not_ended_as("cancelled", &to_cancel, &statuses),
    ));
    found.extend(usual(ground, &asked, &statuses).await);
    let limits = (stood_still_for, OTHERS_WITHIN);
    stalls.push(stall("payment provider", span, &asked, &events, limits));
    let held = checks::show(&found)?;
    let paid = ground.provider.account(&statuses).await?;
    Ok(prove().await? && held && paid)
}

const fn back_within(provider: ProviderName) -> Duration {
    match provider {
        ProviderName::Sandbox | ProviderName::BankTransfer => BACK_WITHIN,
        ProviderName::Stripe => BACK_WITHIN_AT_STRIPE,
    }
}

async fn hang(ground: &Ground, to_cancel: &[Uuid]) -> Result<Hung, ChaosError> {
    let placed = Instant::now();
    let windows =
        (0..=HANGS.as_secs()).map(|second| LEAD.saturating_add(Duration::from_secs(second)));
    let to_ship = ground.in_windows(ground.card(), windows).await?;
    sleep(LEAD.saturating_sub(placed.elapsed())).await;
    let from = now();
    ground.hang_provider(seconds_left(HANGS)).await?;
    say("every call to the payment provider hangs")?;
    let shown = to_ship.first().map(Uuid::to_string).unwrap_or_default();
    let cancel = async |number: usize| match to_cancel.get(number) {
        Some(order) => ground.cancel(&[*order]).await.map(|()| true),
        None => Ok(false),
    };
    let (to, cancels, reads, health) = try_join!(
        Box::pin(until_it_answers(ground)),
        Box::pin(answered(SECOND, cancel)),
        Box::pin(answered(LOOK_EVERY, async |_| Ok(ground.shop.show(&shown).await.is_ok()))),
        Box::pin(answered(LOOK_EVERY, async |_| Ok(ground.is_healthy().await))),
    )?;
    say("the payment provider answers again")?;
    Ok(Hung { span: Span { from, to }, to_ship, cancels, reads, health })
}

/// Each call gets the remaining time of the hang, so that all are answered when it ends, as by a
/// process that was stopped and continued.
async fn until_it_answers(ground: &Ground) -> Result<DateTime<Utc>, ChaosError> {
    let began = Instant::now();
    while began.elapsed() < HANGS {
        ground.hang_provider(seconds_left(HANGS.saturating_sub(began.elapsed()))).await?;
        sleep(SECOND).await;
    }
    ground.hang_provider(None).await?;
    Ok(now())
}

/// Whole seconds, rounded up.
fn seconds_left(left: Duration) -> Option<i32> {
    i32::try_from(left.as_secs().saturating_add(1)).ok()
}

/// Repeats a request while the provider hangs; returns when it was answered.
async fn answered(
    every: Duration,
    mut ask: impl AsyncFnMut(usize) -> Result<bool, ChaosError>,
) -> Result<Vec<DateTime<Utc>>, ChaosError> {
    let (began, mut at) = (Instant::now(), Vec::new());
    for number in 0_usize.. {
        if began.elapsed() >= HANGS {
            break;
        }
        if ask(number).await? {
            at.push(now());
        }
        sleep(every).await;
    }
    Ok(at)
}

/// How long after the hang each order was paid that had reserved its stock before the end of the
/// hang and had no payment.
fn payments_after(span: Span, events: &[Happened]) -> Vec<Duration> {
    let mut waiting = BTreeSet::new();
    let mut after = Vec::new();
    for Happened { order_id, event, at } in events {
        match event.as_str() {
            "stock.reserved" if *at < span.to => {
                waiting.insert(*order_id);
            }
            "payment.authorised" | "payment.declined" | "payment.awaiting-customer" => {
                let waited = waiting.remove(order_id);
                if waited && *at >= span.to {
                    after.push(between(span.to, *at));
                }
            }
            _ => {}
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_waited_if_it_had_its_stock_before_the_provider_answered_and_its_payment_after() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let span = Span { from: at(10), to: at(25) };
        let happened = |order, event: &str, second| {
            let order_id = Uuid::from_u128(order);
            Happened { order_id, event: event.to_owned(), at: at(second) }
        };
        let events = [
            happened(1, "stock.reserved", 8),
            happened(1, "payment.authorised", 9),
            happened(2, "stock.reserved", 9),
            happened(3, "stock.reserved", 20),
            happened(5, "stock.reserved", 21),
            happened(5, "payment.awaiting-customer", 22),
            happened(3, "payment.declined", 26),
            happened(4, "stock.reserved", 27),
            happened(2, "payment.authorised", 28),
            happened(4, "payment.authorised", 29),
            happened(5, "payment.authorised", 30),
        ];
        let seconds: Vec<_> = payments_after(span, &events).iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 3]);
    }
}
