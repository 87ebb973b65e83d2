//! Temporal's namespace is deleted and created again while orders are in progress.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::try_join;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

use super::commands::{Recovered, recover};
use super::{LONG_WINDOW, OF_EACH, about, accepted_at_once, now, whether};
use crate::chaos::checks::{self, Check};
use crate::chaos::customers::Asked;
use crate::chaos::launcher::Launcher;
use crate::chaos::records::Standing;
use crate::chaos::{ChaosError, Ground};
use crate::prove::prove;
use crate::screen::{heading, say};

/// How long there is no namespace, so that orders can only wait.
const GONE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(5);

/// A window that ends after everything is settled.
const SHORT_WINDOW: Duration = Duration::from_mins(1);

/// Orders that were in progress, and their results.
struct Lost {
    /// They waited for a person.
    stuck: Vec<Uuid>,
    /// Those of them that did not ask again.
    unasked: Vec<Uuid>,
    /// They could be cancelled, and were not.
    in_window: Vec<Uuid>,
    /// None of their windows ends earlier.
    window_ends: DateTime<Utc>,
    /// They were cancelled afterwards.
    to_cancel: Vec<Uuid>,
    deleted_at: DateTime<Utc>,
    made_at: DateTime<Utc>,
    recovered: Recovered,
}

pub(in crate::chaos) async fn run(
    ground: &Ground,
    launcher: &mut Launcher,
) -> Result<bool, ChaosError> {
    heading("the namespace is deleted and made anew while orders are under way")?;
    let (enough, until_enough) = oneshot::channel::<()>();
    let customers = ground.customers();
    let ordering = customers.order_until(async { until_enough.await.unwrap_or_default() });
    let (asked, lost) = try_join!(ordering, lose_namespace(ground, launcher, enough))?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let again = recover().await?;
    let held = checks::show(&checks_of(ground, &asked, &lost, &statuses, &again).await?)?;
    Ok(prove().await? && held)
}

async fn lose_namespace(
    ground: &Ground,
    launcher: &mut Launcher,
    enough: oneshot::Sender<()>,
) -> Result<Lost, ChaosError> {
    let to_cancel = ground.in_their_window(OF_EACH, "tok_visa", LONG_WINDOW).await?;
    let stuck = ground.stuck(OF_EACH).await?;
    // Each window begins later than this.
    let window_ends = now()
        .checked_add_signed(TimeDelta::from_std(SHORT_WINDOW).unwrap_or_default())
        .unwrap_or_default();
    let in_window = ground.in_their_window(OF_EACH, "tok_visa", SHORT_WINDOW).await?;
    let before = ground.records.standings().await?;

    launcher.delete_namespace().await?;
    let deleted_at = now();
    say("the namespace is deleted (`temporal operator namespace delete`)")?;
    sleep(GONE).await;
    let made_at = now();
    launcher.make_namespace().await?;
    say("the namespace and its search attributes are made anew (`temporal/setup.sh`)")?;
    sleep(AFTER).await;
    let recovered = recover().await?;

    let asked_before = |order: &Uuid| before.get(order).map_or(0, |known| known.attentions);
    for order in &stuck {
        let ask = asked_before(order);
        let asks_again = |now: &Standing| now.needs_attention && now.attentions > ask;
        ground.until("a stuck order asks again", &[*order], asks_again).await?;
    }
    let unasked = ground.decide(&stuck).await?;
    ground.cancel(&to_cancel).await?;
    sleep(AFTER).await;
    drop(enough);
    Ok(Lost { stuck, unasked, in_window, window_ends, to_cancel, deleted_at, made_at, recovered })
}

async fn checks_of(
    ground: &Ground,
    asked: &[Asked],
    lost: &Lost,
    statuses: &BTreeMap<Uuid, String>,
    again: &Recovered,
) -> Result<Vec<Check>, ChaosError> {
    let shipped = ground.records.shipped().await?;
    let is = |order: &Uuid, status: &str| statuses.get(order).is_some_and(|is| is == status);
    let cancelled = |orders: &[Uuid]| {
        let others = orders.iter().filter(|order| !is(order, "cancelled"));
        others.copied().collect::<Vec<_>>()
    };
    let too_soon = |order: &Uuid| shipped.get(order).is_none_or(|at| *at < lost.window_ends);
    let sold = lost.in_window.iter().filter(|order| !is(order, "completed") || too_soon(order));
    let under_way = [&lost.stuck, &lost.in_window, &lost.to_cancel].into_iter().flatten();
    let not_launched = under_way.clone().filter(|one| !lost.recovered.launched.contains(*one));
    let recovered = &lost.recovered;
    Ok(vec![
        accepted_at_once(asked, lost.deleted_at, lost.made_at),
        about("`recover` launches again what was under way", under_way.count(), not_launched),
        whether(
            "… and leaves nothing unsettled",
            format!("{} launched again", recovered.launched.len()),
            recovered.is_content && recovered.else_said.is_empty(),
        ),
        whether(
            "a second `recover` finds nothing to do",
            format!("{} launched again", again.launched.len()),
            again.is_content && again.launched.is_empty(),
        ),
        about("a stuck order asks again, and the decision counts", OF_EACH, &lost.unasked),
        about("… and ends as it was being unwound", OF_EACH, cancelled(&lost.stuck)),
        about("one in its window is completed, and not before the window ends", OF_EACH, sold),
        about("… or cancelled, if somebody cancels it", OF_EACH, cancelled(&lost.to_cancel)),
        checks::ended(statuses),
        checks::as_planned(&ground.shop, asked).await,
        checks::met_again(&ground.shop, asked).await,
    ])
}
