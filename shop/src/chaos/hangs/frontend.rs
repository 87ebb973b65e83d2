//! One of Temporal's frontends hangs with its connections open, while another one answers.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    BACK_WITHIN, Span, Stall, accepted, happened, now, stall, usual, went_on, whether,
    while_orders_come_in,
};
use crate::chaos::launcher::Launcher;
use crate::chaos::records::Happened;
use crate::chaos::{ChaosError, Ground, checks};
use crate::latency::Took;
use crate::prove::prove;
use crate::screen::{heading, say};

const HANGS: Duration = Duration::from_secs(20);

/// The maximum from an order's acceptance to its end: the keep-alive closes a hanging connection
/// after 14 s, and the order itself takes a second at most.
const ORDER_WITHIN: Duration = Duration::from_secs(15);

pub(in crate::chaos) async fn run(
    ground: &Ground,
    launcher: &mut Launcher,
    stalls: &mut Vec<Stall>,
) -> Result<bool, ChaosError> {
    heading(format_args!(
        "one of two frontends of Temporal hangs for {} s while {} orders a second come in",
        HANGS.as_secs(),
        ground.per_second
    ))?;
    let (asked, span) = while_orders_come_in(ground, hang(launcher)).await?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let events = ground.records.events().await?;

    let all = [
        accepted(&asked),
        happened("… and launched", &events, |one| one.event == "stock.reserved"),
        happened("… and come to their end", &events, Happened::is_end),
    ];
    let (mut found, stood_still_for) = went_on(&all, span, BACK_WITHIN);
    let limits = (stood_still_for, BACK_WITHIN);
    let row = stall("frontend of Temporal", span, &asked, &events, limits);
    found.push(whether(
        "no order takes longer than a hung connection is kept for",
        format!("{} at worst", Took(row.worst_order)),
        row.worst_order <= ORDER_WITHIN,
    ));
    found.extend(usual(ground, &asked, &statuses).await);
    stalls.push(row);
    let held = checks::show(&found)?;
    Ok(prove().await? && held)
}

async fn hang(launcher: &mut Launcher) -> Result<Span, ChaosError> {
    launcher.hang_frontend().await?;
    let from = now();
    say("a frontend hangs (`kill -STOP`)")?;
    sleep(HANGS).await;
    let to = now();
    launcher.let_frontend_go_on().await?;
    say("it goes on")?;
    Ok(Span { from, to })
}
