//! Checks the invariants: reads all data and reports, for each promise, how many things were
//! checked and which of them violate it.
//!
//! Everything in the database is read in one repeatable-read transaction, so the checks can run
//! while the shop takes orders. What need not hold at every moment (the provider has acted, and the
//! shop has not recorded it yet) is checked only for orders at rest: those that have ended. If a
//! person has decided to skip a step or its undo, the order is exempt from the checks that this
//! step makes true, and only from those; the exemptions are counted.
//!
//! [`prove`] reads the whole history. [`prove_recent`] reads only what has changed lately or has
//! not ended; the module `scope` says what that is.

mod books;
mod consumed;
mod disputes;
mod invoices;
mod logs;
mod mails;
mod messages;
mod money;
mod parties;
mod privacy;
mod reconciled;
mod record;
mod scope;
mod stock;
mod table;
mod under_way;

use std::path::PathBuf;

use domain::StepName;
use sqlx::{PgConnection, PgPool};
use temporalio_client::Client;
use uuid::Uuid;

pub use consumed::look_at_inboxes;
pub use logs::{look_at_logs, secrets_of};
use scope::Scope;
pub use table::{PROMISE_COLUMN, checked, table};
pub(crate) use under_way::of_every_process;

/// The result of checking one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant's name in the design, such as `I1`.
    pub invariant: &'static str,
    /// The promise.
    pub promise: &'static str,
    /// What was checked, in the plural: `transactions`.
    pub things: &'static str,
    /// How many of them were checked.
    pub looked_at: u64,
    /// The result.
    pub verdict: Verdict,
    /// Additional information, such as what was left out.
    pub remark: Option<String>,
}

/// The result of checking a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds for everything that was checked.
    Holds,
    /// There was nothing to check, so nothing is shown.
    Nothing,
    /// It does not hold.
    Broken {
        /// The number of violations.
        times: u64,
        /// Up to five examples; for orders on which Postgres and Temporal disagree, all of them.
        examples: Vec<String>,
    },
    /// The check could not be made, for this reason.
    NotShown(&'static str),
}

/// The maximum number of examples of a violation. The queries repeat it as `[1:5]`.
const EXAMPLES: usize = 5;

/// Why the promises could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The database.
    #[error("the database could not be read")]
    Database(#[from] sqlx::Error),
    /// Temporal.
    #[error("Temporal could not be read: {0}")]
    Temporal(String),
    /// A file given by the caller.
    #[error("{} could not be read", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The result of a check's query.
struct Seen {
    looked_at: i64,
    violations: i64,
    examples: Vec<String>,
}

impl Seen {
    /// Keeps all violations instead of examples, because each is an order to be settled.
    fn all(looked_at: i64, complaints: Vec<String>) -> Self {
        let violations = i64::try_from(complaints.len()).unwrap_or(i64::MAX);
        Self { looked_at, violations, examples: complaints }
    }

    fn of(looked_at: i64, complaints: Vec<String>) -> Self {
        let violations = i64::try_from(complaints.len()).unwrap_or(i64::MAX);
        let examples = complaints.into_iter().take(EXAMPLES).collect();
        Self { looked_at, violations, examples }
    }
}

/// Steps, or their undos, that a person has decided to skip for one order. A decision exempts the
/// order only from the checks that this step makes true.
struct Skipped(Vec<(Uuid, StepName)>);

impl Finding {
    /// Whether the promise is violated.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        matches!(self.verdict, Verdict::Broken { .. })
    }

    fn of(
        invariant: &'static str,
        promise: &'static str,
        things: &'static str,
        seen: Seen,
    ) -> Self {
        let Seen { looked_at, violations, examples } = seen;
        let (looked_at, times) = (unsigned(looked_at), unsigned(violations));
        let verdict = match (times, looked_at) {
            (0, 0) => Verdict::Nothing,
            (0, _) => Verdict::Holds,
            (times, _) => Verdict::Broken { times, examples },
        };
        Self { invariant, promise, things, looked_at, verdict, remark: None }
    }

    const fn not_shown(invariant: &'static str, promise: &'static str, why: &'static str) -> Self {
        let verdict = Verdict::NotShown(why);
        Self { invariant, promise, things: "", looked_at: 0, verdict, remark: None }
    }

    fn with_remark(mut self, remark: Option<String>) -> Self {
        self.remark = remark;
        self
    }
}

impl Skipped {
    async fn read(db: &mut PgConnection, scope: &Scope) -> Result<Self, sqlx::Error> {
        let skipped = sqlx::query!(
            r#"
            select order_id, data ->> 'step' as "step!" from orders.order_events
            where type = 'order.attention-resolved' and data ->> 'decision' = 'skip'
                and ($1::uuid[] is null or order_id = any ($1))
            "#,
            scope.orders(),
        )
        .fetch_all(db)
        .await?;
        let skipped =
            skipped.into_iter().filter_map(|one| Some((one.order_id, one.step.parse().ok()?)));
        Ok(Self(skipped.collect()))
    }

    /// The orders for which one of these steps, or its undo, was skipped.
    fn orders(&self, steps: &[StepName]) -> Vec<Uuid> {
        let skipped = self.0.iter().filter(|(_, step)| steps.contains(step));
        skipped.map(|(order, _)| *order).collect()
    }

    fn remark(&self, steps: &[StepName]) -> Option<String> {
        let orders = self.orders(steps).len();
        let steps = steps.iter().map(|step| step.name()).collect::<Vec<_>>().join(" or ");
        (orders > 0).then(|| {
            format!("{orders} orders are left out because a person decided to skip {steps}")
        })
    }
}

/// The result of a recent proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentProof {
    /// How many orders were checked.
    pub orders: usize,
    /// The results, for the same promises as those of [`prove`].
    pub findings: Vec<Finding>,
}

/// Checks every promise. Without a client, those that need Temporal are reported as not shown.
pub async fn prove(pool: &PgPool, client: Option<&Client>) -> Result<Vec<Finding>, ProveError> {
    let (_, findings) = look(pool, client, None).await?;
    Ok(findings)
}

/// Checks the orders that have changed in the last hours or have not ended, and the bookings since
/// the last closing of the books. Promises about sums of the whole history are reported as not
/// shown.
pub async fn prove_recent(
    pool: &PgPool,
    client: Option<&Client>,
    hours: u16,
) -> Result<RecentProof, ProveError> {
    let (scope, findings) = look(pool, client, Some(hours)).await?;
    Ok(RecentProof { orders: scope.orders().map_or(0, <[Uuid]>::len), findings })
}

async fn look(
    pool: &PgPool,
    client: Option<&Client>,
    hours: Option<u16>,
) -> Result<(Scope, Vec<Finding>), ProveError> {
    let mut moment = pool.begin_with("begin isolation level repeatable read, read only").await?;
    let db = &mut *moment;
    let scope = Scope::read(db, hours).await?;
    let skipped = Skipped::read(db, &scope).await?;
    let mut findings = books::look(db, &scope, &skipped).await?;
    findings.extend(parties::look(db, &scope, &skipped).await?);
    findings.extend(stock::look(db, &scope).await?);
    findings.extend(money::look(db, &scope, &skipped).await?);
    findings.extend(disputes::look(db, &scope).await?);
    findings.extend(invoices::look(db, &scope).await?);
    findings.extend(record::look(db, &scope).await?);
    findings.extend(messages::look(db, &scope).await?);
    findings.extend(mails::look(db, &scope).await?);
    findings.extend(stock::look_at_finished_orders(db, &scope, &skipped).await?);
    let (open, known) = under_way::look(db, &scope).await?;
    findings.extend(open);
    let private = privacy::read(db, &scope).await?;
    findings.extend(privacy::look(db, &scope, &private).await?);
    moment.commit().await?;
    if let Some(client) = client {
        findings.extend(under_way::look_at_workflows(pool, client, &scope, known).await?);
        findings.push(under_way::look_at_refunds(pool, client).await?);
        findings.push(privacy::look_at_histories(client, &scope, &private).await?);
    } else {
        findings.extend(under_way::without_temporal());
        findings.push(privacy::without_temporal());
    }
    findings.push(consumed::without_inboxes());
    findings.sort_by_key(|finding| {
        finding.invariant.trim_start_matches('I').parse::<u8>().unwrap_or(u8::MAX)
    });
    Ok((scope, findings))
}

/// Replaces the finding that was "not shown" with a later result for the same promise.
pub fn put_in_place(findings: &mut [Finding], shown: Finding) {
    if let Some(place) = findings.iter_mut().find(|finding| finding.promise == shown.promise) {
        *place = shown;
    }
}

/// Counts are never negative; a negative one is a bug and must be visible.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
