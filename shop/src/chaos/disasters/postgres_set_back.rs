//! Postgres is restored to a state half a minute behind Temporal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::try_join;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

use super::commands::{Proof, Recovered, prove, recover};
use super::{LONG_WINDOW, OF_EACH, about, whether};
use crate::chaos::checks::{self, Check};
use crate::chaos::customers::{Asked, REASON};
use crate::chaos::launcher::{Launcher, Program};
use crate::chaos::records::Standing;
use crate::chaos::{ChaosError, Ground};
use crate::plan::Twist;
use crate::screen::{heading, say};

/// How far Postgres is set back.
const SET_BACK: Duration = Duration::from_secs(35);

/// A window that ends before the backup.
const SHORT_WINDOW: Duration = Duration::from_secs(20);

const CONNECTED: [Program; 4] =
    [Program::Worker, Program::SecondWorker, Program::Starter, Program::Relay];

/// Orders in particular states when the backup was made.
struct Particular {
    /// Waits for a person, before and after the backup.
    stuck: Vec<Uuid>,
    /// Waited for a person, who decided after the backup.
    decided: Vec<Uuid>,
    /// In its window, and cancelled after the backup, after which it waits for a person.
    stuck_after: Vec<Uuid>,
    /// In its window, before and after.
    in_window: Vec<Uuid>,
    /// In its window, and cancelled after the backup.
    cancelled: Vec<Uuid>,
    /// In its window, and completed after the backup.
    completed: Vec<Uuid>,
}

/// What Postgres has lost.
struct Forgotten {
    /// Orders that it has, but behind Temporal's state.
    ahead: BTreeSet<Uuid>,
    /// Orders that only Temporal has.
    lost: BTreeSet<Uuid>,
    /// Orders that were placed or cancelled without reaching Temporal: only the shop knows of them,
    /// and repeats its requests.
    known_to_nobody: usize,
}

pub(in crate::chaos) async fn run(
    ground: &Ground,
    launcher: &mut Launcher,
) -> Result<bool, ChaosError> {
    heading(format_args!("Postgres is set back {} s behind Temporal", SET_BACK.as_secs()))?;
    let (enough, until_enough) = oneshot::channel::<()>();
    let customers = ground.customers();
    let ordering = customers.order_until(async { until_enough.await.unwrap_or_default() });
    let setting_back = async {
        let particular = go_on_after_a_copy(ground, launcher).await?;
        let forgotten = set_back(ground, launcher, enough).await?;
        Ok((particular, forgotten))
    };
    let (asked, (particular, forgotten)) = try_join!(ordering, setting_back)?;
    let (mut found, unsettled) = settle(ground, &particular, &forgotten).await?;
    found.extend(ask_again(ground, &asked, &unsettled).await?);
    checks::show(&found)
}

/// Makes the backup, and lets orders continue for as long as Postgres will be set back.
async fn go_on_after_a_copy(
    ground: &Ground,
    launcher: &mut Launcher,
) -> Result<Particular, ChaosError> {
    let in_window = async |token, window| ground.in_their_window(OF_EACH, token, window).await;
    let particular = Particular {
        stuck: ground.stuck(OF_EACH).await?,
        decided: ground.stuck(OF_EACH).await?,
        stuck_after: in_window("tok_refund_broken", LONG_WINDOW).await?,
        in_window: in_window("tok_visa", LONG_WINDOW).await?,
        cancelled: in_window("tok_visa", LONG_WINDOW).await?,
        completed: in_window("tok_visa", SHORT_WINDOW).await?,
    };
    launcher.back_up_postgres().await?;
    let began = Instant::now();
    say("a copy of Postgres is made, and orders go on")?;
    ground.decide(&particular.decided).await?;
    ground.cancel(&particular.cancelled).await?;
    ground.cancel(&particular.stuck_after).await?;
    let waits = |order: &Standing| order.needs_attention;
    ground.until("orders wait for a person", &particular.stuck_after, waits).await?;
    let ended = [&particular.decided, &particular.cancelled, &particular.completed];
    let ended: Vec<_> = ended.into_iter().flatten().copied().collect();
    ground.until("orders end after the copy", &ended, |order| !order.is_open()).await?;
    sleep(SET_BACK.saturating_sub(began.elapsed())).await;
    Ok(particular)
}

/// Restores the backup without any connections, and starts everything again.
async fn set_back(
    ground: &Ground,
    launcher: &mut Launcher,
    enough: oneshot::Sender<()>,
) -> Result<Forgotten, ChaosError> {
    drop(enough);
    for program in CONNECTED {
        launcher.kill(program).await?;
    }
    let before = ground.records.standings().await?;
    launcher.set_postgres_back().await?;
    let after = ground.records.standings().await?;
    let workflows = ground.records.workflows().await?;
    for program in CONNECTED {
        launcher.start(program).await?;
    }
    ground.until_a_worker_serves().await?;
    let forgotten = Forgotten::between(&before, &after, &workflows);
    say(format_args!(
        "the copy is put back: {} orders are behind Temporal, {} are gone, and of {} nobody knows \
         but the shop",
        forgotten.ahead.len(),
        forgotten.lost.len(),
        forgotten.known_to_nobody,
    ))?;
    Ok(forgotten)
}

impl Forgotten {
    fn between(
        before: &BTreeMap<Uuid, Standing>,
        after: &BTreeMap<Uuid, Standing>,
        workflows: &BTreeMap<Uuid, bool>,
    ) -> Self {
        let changed = before.iter().filter(|(order, was)| after.get(order) != Some(*was));
        let (known, known_to_nobody): (BTreeSet<Uuid>, BTreeSet<Uuid>) =
            changed.map(|(order, _)| *order).partition(|order| workflows.contains_key(order));
        let (ahead, lost) = known.into_iter().partition(|order| after.contains_key(order));
        Self { ahead, lost, known_to_nobody: known_to_nobody.len() }
    }
}

/// Has the disagreements reported and settled; returns what was found and what cannot be settled.
async fn settle(
    ground: &Ground,
    particular: &Particular,
    Forgotten { ahead, lost, .. }: &Forgotten,
) -> Result<(Vec<Check>, BTreeSet<Uuid>), ChaosError> {
    let open_at_first = ground.records.standings().await?;
    let proof = prove().await?;
    let open_at_last = ground.records.standings().await?;
    let is_open =
        |order: &Uuid, at: &BTreeMap<Uuid, Standing>| at.get(order).is_some_and(Standing::is_open);
    // Some that were in progress end by themselves.
    let (to_name, by_itself): (BTreeSet<Uuid>, BTreeSet<Uuid>) = ahead
        .iter()
        .partition(|order| is_open(order, &open_at_first) && is_open(order, &open_at_last));
    say(format_args!("{} orders came to their end by themselves", by_itself.len()))?;
    let recovered = recover().await?;

    let (in_doubt, asks) = (&particular.stuck_after, |order: &Standing| order.needs_attention);
    ground.until("an order that was stuck asks again", in_doubt, asks).await?;
    let mut unasked = ground.decide(&particular.stuck).await?;
    unasked.extend(ground.decide(in_doubt).await?);
    ground.cancel(&particular.in_window).await?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let proof_after = prove().await?;
    let again = recover().await?;

    let mut found = named(&proof, &to_name, lost);
    found.extend(settled(&recovered, &to_name, lost, &again));
    found.extend(right_ends(particular, &statuses, &unasked));
    let unexplained: Vec<_> = proof_after.named.difference(&recovered.unsettled).collect();
    found.push(Check {
        promise: "then `prove` names only what `recover` cannot settle",
        looked_at: format!("{} named", proof_after.named.len()),
        complaints: unexplained.into_iter().map(ToString::to_string).collect(),
    });
    found.push(checks::ended(&statuses));
    Ok((found, recovered.unsettled))
}

fn named(proof: &Proof, ahead: &BTreeSet<Uuid>, lost: &BTreeSet<Uuid>) -> Vec<Check> {
    let missing =
        |orders: &BTreeSet<Uuid>| orders.difference(&proof.named).copied().collect::<Vec<_>>();
    vec![
        whether(
            "`prove` finds that Postgres and Temporal disagree",
            format!("{} promises broken", proof.broken),
            !proof.is_content,
        ),
        about("… and names every order that is behind Temporal", ahead.len(), missing(ahead)),
        about("… and every order that is gone", lost.len(), missing(lost)),
    ]
}

fn settled(
    recovered: &Recovered,
    ahead: &BTreeSet<Uuid>,
    lost: &BTreeSet<Uuid>,
    again: &Recovered,
) -> Vec<Check> {
    let complaints = lost.difference(&recovered.unsettled).map(ToString::to_string);
    let complaints = complaints.chain(recovered.else_said.iter().cloned()).collect::<Vec<_>>();
    let unchanged = again.unsettled == recovered.unsettled && again.launched.is_empty();
    vec![
        about(
            "`recover` launches again what is behind Temporal",
            ahead.len(),
            ahead.difference(&recovered.launched),
        ),
        about("… and says of every order that is gone why it cannot", lost.len(), complaints),
        whether(
            "a second `recover` says the same, and does nothing",
            format!("{} not settled", again.unsettled.len()),
            unchanged && !again.is_content,
        ),
    ]
}

fn right_ends(
    particular: &Particular,
    statuses: &BTreeMap<Uuid, String>,
    unasked: &[Uuid],
) -> Vec<Check> {
    let others = |orders: &[Uuid], end: &str| {
        let others = orders.iter().filter(|order| statuses.get(order).is_none_or(|is| is != end));
        others.copied().collect::<Vec<_>>()
    };
    let stuck = [&particular.stuck, &particular.stuck_after].into_iter().flatten().copied();
    let stuck: Vec<_> = stuck.collect();
    vec![
        about("an order that was stuck, or became it, can be decided about", stuck.len(), unasked),
        about("… and ends as it was being unwound", stuck.len(), others(&stuck, "cancelled")),
        about(
            "one that was decided about stays as it ended",
            particular.decided.len(),
            others(&particular.decided, "cancelled"),
        ),
        about(
            "one that was cancelled stays cancelled",
            particular.cancelled.len(),
            others(&particular.cancelled, "cancelled"),
        ),
        about(
            "one that was completed stays completed",
            particular.completed.len(),
            others(&particular.completed, "completed"),
        ),
        about(
            "one that is still in its window can be cancelled",
            particular.in_window.len(),
            others(&particular.in_window, "cancelled"),
        ),
    ]
}

/// The shop repeats its requests under the same keys, which puts the lost orders on record again,
/// so that they can be settled.
async fn ask_again(
    ground: &Ground,
    asked: &[Asked],
    unsettled: &BTreeSet<Uuid>,
) -> Result<Vec<Check>, ChaosError> {
    heading("the shop repeats its requests under the same Idempotency-Keys")?;
    let repeated = checks::met_again(&ground.shop, asked).await;
    let recovered = recover().await?;
    for one in asked {
        let (Some(order), Twist::Cancelled) = (one.order_id(), one.planned.twist) else { continue };
        let order = order.to_string();
        if !ground.shop.show(&order).await?.has_ended() {
            ground.shop.cancel(&order, REASON).await?;
        }
    }
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;
    let proof = prove().await?;
    Ok(vec![
        repeated,
        about("then `recover` settles what it could not", unsettled.len(), &recovered.unsettled),
        whether(
            "… and `prove` holds",
            format!("{} promises broken", proof.broken),
            proof.is_content,
        ),
        checks::ended(&statuses),
        checks::as_planned(&ground.shop, asked).await,
    ])
}
