//! Another transaction locks an article's row, so that its orders cannot reserve it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use super::{
    BACK_WITHIN, OTHERS_WITHIN, SECOND, Span, Stall, about, accepted, back, between, happened,
    not_ended_as, now, stall, usual, went_on, while_orders_come_in,
};
use crate::chaos::customers::Asked;
use crate::chaos::ground::ARTICLE;
use crate::chaos::records::Happened;
use crate::chaos::{ChaosError, Ground, checks};
use crate::prove::prove;
use crate::screen::{heading, say};

const LOCKED: Duration = Duration::from_secs(20);

/// The lock, and the orders placed for the article meanwhile.
struct Held {
    span: Span,
    alone: Vec<Uuid>,
}

pub(in crate::chaos) async fn run(
    ground: &Ground,
    stalls: &mut Vec<Stall>,
) -> Result<bool, ChaosError> {
    heading(format_args!(
        "article {ARTICLE} is locked for {} s while {} orders a second come in",
        LOCKED.as_secs(),
        ground.per_second
    ))?;
    let hanging = Box::pin(hold(ground));
    let (asked, Held { span, alone }) = while_orders_come_in(ground, hanging).await?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let events = ground.records.events().await?;

    let with_it: BTreeSet<Uuid> =
        asked.iter().filter(|one| needs_it(one)).filter_map(Asked::order_id).collect();
    let is_other =
        |one: &Happened| !with_it.contains(&one.order_id) && !alone.contains(&one.order_id);
    let others = [
        accepted(&asked),
        happened("orders without the article reserve their stock", &events, |one| {
            one.event == "stock.reserved" && is_other(one)
        }),
        happened("… and come to their end", &events, |one| one.is_end() && is_other(one)),
    ];
    let (mut found, stood_still_for) = went_on(&others, span, OTHERS_WITHIN);
    let waits: Vec<_> = events
        .iter()
        .filter(|one| one.event == "stock.reserved" && alone.contains(&one.order_id))
        .map(|one| between(span.to, one.at))
        .collect();
    let promise = "orders for the article go on once it is let go";
    found.push(back(promise, alone.len(), &waits, BACK_WITHIN));
    found.push(about(
        "… and are completed",
        alone.len(),
        not_ended_as("completed", &alone, &statuses),
    ));
    found.extend(usual(ground, &asked, &statuses).await);
    let limits = (stood_still_for, OTHERS_WITHIN);
    stalls.push(stall("article's row", span, &asked, &events, limits));
    let held = checks::show(&found)?;
    Ok(prove().await? && held)
}

async fn hold(ground: &Ground) -> Result<Held, ChaosError> {
    let lock = ground.lock(ARTICLE).await?;
    let (from, began) = (now(), Instant::now());
    say("the article's row is locked (`select … for update`)")?;
    let mut alone = Vec::new();
    while began.elapsed() < LOCKED {
        alone.push(ground.place_one("tok_visa", None).await?);
        sleep(SECOND).await;
    }
    let to = now();
    lock.rollback().await.map_err(ChaosError::Owner)?;
    say("it is let go")?;
    Ok(Held { span: Span { from, to }, alone })
}

fn needs_it(asked: &Asked) -> bool {
    asked.planned.request.lines.iter().any(|line| line.sku == ARTICLE)
}
