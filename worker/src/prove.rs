//! Shows that the invariants hold: reads everything there is to read, and says of each promise
//! how many things it looked at and which of them break it.
//!
//! All that the database can show is read in one transaction that sees a single moment, so a
//! shop that is taking orders can be judged too. What need not hold at any moment (what the
//! provider has just done, and the shop has not yet written down) is judged for orders at rest:
//! those that have ended. Where a person has decided to go on without a step or its undo, the order
//! is left out of the checks that this step makes true, and of no others, and is counted.

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
pub use table::{PROMISE_COLUMN, table};
pub(crate) use under_way::of_every_process;

/// What was found about one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant's name in the design: `I1`.
    pub invariant: &'static str,
    /// The promise.
    pub promise: &'static str,
    /// What was looked at, in the plural: `transactions`.
    pub things: &'static str,
    /// How many of them.
    pub looked_at: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// What the reader should know besides, such as what was left out.
    pub remark: Option<String>,
}

/// What came of looking at a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds for everything that was looked at.
    Holds,
    /// There was nothing to look at, which shows nothing.
    Nothing,
    /// It does not hold.
    Broken {
        /// How many times.
        times: u64,
        /// Up to five of them; of orders on which Postgres and Temporal disagree, all.
        examples: Vec<String>,
    },
    /// This check cannot show it, for this reason.
    NotShown(&'static str),
}

/// How many examples of a broken promise are shown. The queries know it as `[1:5]`.
const EXAMPLES: usize = 5;

/// Why the promises could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The database.
    #[error("the database could not be read")]
    Database(#[from] sqlx::Error),
    /// Temporal.
    #[error("Temporal could not be read: {0}")]
    Temporal(String),
    /// A file that was named.
    #[error("{} could not be read", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a check's query tells.
struct Seen {
    looked_at: i64,
    violations: i64,
    examples: Vec<String>,
}

impl Seen {
    /// All that is wrong, not examples alone: each is an order to be settled.
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

/// What persons have decided to go on without: a step or its undo, of one order. A decision exempts
/// the checks that this step makes true, and nothing else of the order.
struct Skipped(Vec<(Uuid, StepName)>);

impl Finding {
    /// Whether the promise is known not to hold.
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
    async fn read(db: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let skipped = sqlx::query!(
            r#"
            select order_id, data ->> 'step' as "step!" from orders.order_events
            where type = 'order.attention-resolved' and data ->> 'decision' = 'skip'
            "#,
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

/// Looks at every promise. Without a client, those that need Temporal are not shown.
pub async fn prove(pool: &PgPool, client: Option<&Client>) -> Result<Vec<Finding>, ProveError> {
    let mut moment = pool.begin_with("begin isolation level repeatable read, read only").await?;
    let db = &mut *moment;
    let skipped = Skipped::read(db).await?;
    let mut findings = books::look(db, &skipped).await?;
    findings.extend(parties::look(db, &skipped).await?);
    findings.extend(stock::look(db).await?);
    findings.extend(money::look(db, &skipped).await?);
    findings.extend(disputes::look(db).await?);
    findings.extend(invoices::look(db).await?);
    findings.extend(record::look(db).await?);
    findings.extend(messages::look(db).await?);
    findings.extend(mails::look(db).await?);
    findings.extend(stock::look_at_finished_orders(db, &skipped).await?);
    let (open, known) = under_way::look(db).await?;
    findings.extend(open);
    let private = privacy::read(db).await?;
    findings.extend(privacy::look(db, &private).await?);
    moment.commit().await?;
    if let Some(client) = client {
        findings.extend(under_way::look_at_workflows(pool, client, known).await?);
        findings.push(under_way::look_at_refunds(pool, client).await?);
        findings.push(privacy::look_at_histories(client, &private).await?);
    } else {
        findings.extend(under_way::without_temporal());
        findings.push(privacy::without_temporal());
    }
    findings.push(consumed::without_inboxes());
    findings.sort_by_key(|finding| {
        finding.invariant.trim_start_matches('I').parse::<u8>().unwrap_or(u8::MAX)
    });
    Ok(findings)
}

/// Puts what was looked at besides in the place where it was not shown.
pub fn put_in_place(findings: &mut [Finding], shown: Finding) {
    if let Some(place) = findings.iter_mut().find(|finding| finding.promise == shown.promise) {
        *place = shown;
    }
}

/// Counts are never negative; one that is would be a bug worth seeing.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
