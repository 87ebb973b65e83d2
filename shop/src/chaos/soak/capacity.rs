//! Measures briefly how many orders per second the machine can finish.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::chaos::customers::{Asked, place};
use crate::chaos::{ChaosError, Ground};
use crate::plan::{Planned, Twist};
use crate::retail::{RetailError, RetailOrders};
use crate::screen::say;

/// Concurrent customers; each orders again once their order has ended.
const AT_ONCE: usize = 32;

/// Warm-up, and the counted time.
const LEAD: Duration = Duration::from_secs(5);
const COUNTED_SECONDS: u32 = 20;

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// More orders than any machine finishes in that time.
const ORDERS: usize = 20_000;

/// Half of what the machine finishes per second, at least one; and the requests used to measure it.
pub(super) async fn half(ground: &Ground) -> Result<(u32, Vec<Asked>), ChaosError> {
    say(format_args!("measuring for {COUNTED_SECONDS} s how many orders this machine finishes"))?;
    let orders = RetailOrders::read(None, ORDERS)?.orders;
    let provider = ground.provider.name();
    let plain = orders.into_iter().filter(|(at, _)| Twist::of(*at, provider) == Twist::Plain);
    let planned = plain.map(|(at, order)| Planned::of(at, order, provider)).collect::<Vec<_>>();
    let (began, finished) = (Instant::now(), AtomicUsize::new(0));
    let until = LEAD.saturating_add(Duration::from_secs(COUNTED_SECONDS.into()));
    let next = AtomicUsize::new(0);
    let customer = |_number: usize| async {
        let mut asked = Vec::new();
        while began.elapsed() < until {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let planned = planned.get(number).cloned().ok_or(RetailError::Empty)?;
            let key = format!("capacity-{}", planned.invoice);
            asked.push(place(ground.shop.clone(), planned, key).await);
            if let Some(Ok(placed)) = asked.last().map(|asked| &asked.accepted) {
                while !ground.shop.show(&placed.answer.id).await?.has_ended() {
                    sleep(BETWEEN_LOOKS).await;
                }
                if (LEAD..until).contains(&began.elapsed()) {
                    finished.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok::<_, ChaosError>(asked)
    };
    let customers = stream::iter((0..AT_ONCE).map(customer)).buffer_unordered(AT_ONCE);
    let asked = customers.try_concat().await?;
    let finished = u32::try_from(finished.into_inner()).unwrap_or(u32::MAX);
    let a_second = finished.checked_div(COUNTED_SECONDS).unwrap_or_default();
    say(format_args!(
        "{finished} in {COUNTED_SECONDS} s: {a_second} a second; half of it is the load"
    ))?;
    Ok((a_second.checked_div(2).unwrap_or_default().max(1), asked))
}
