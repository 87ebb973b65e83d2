//! Shows that the invariants hold: reads everything there is to read, and says of each promise
//! how many things it looked at and which of them break it.
//!
//! All that the database can show is read in one transaction that sees a single moment, so a
//! shop that is taking orders can be judged too. What need not hold at any moment (what the
//! provider has just done, and the shop has not yet written down) is judged for orders at rest:
//! those that nothing will happen to any more. Orders about which an operator has decided to go
//! on without an undo are left out where that undo is what makes the promise true, and counted.

mod books;
mod money;
mod privacy;
mod record;
mod stock;
mod table;
mod under_way;

use sqlx::{PgConnection, PgPool};
use temporalio_client::Client;
use uuid::Uuid;

pub use table::table;

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
        /// Up to five of them.
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
}

/// What a check's query tells.
struct Seen {
    looked_at: i64,
    violations: i64,
    examples: Vec<String>,
}

impl Seen {
    fn of(looked_at: i64, complaints: Vec<String>) -> Self {
        let violations = i64::try_from(complaints.len()).unwrap_or(i64::MAX);
        let examples = complaints.into_iter().take(EXAMPLES).collect();
        Self { looked_at, violations, examples }
    }
}

/// Orders about which an operator has decided to go on without an undo or a last step.
struct ByHand(Vec<Uuid>);

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

impl ByHand {
    async fn read(db: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let orders = sqlx::query_scalar!(
            r#"
            select distinct order_id from orders.order_events
            where type = 'order.resumed' and data ->> 'remark' like 'skip,%'
            "#,
        )
        .fetch_all(db)
        .await?;
        Ok(Self(orders))
    }

    fn remark(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| {
            format!("{} orders that an operator settled by hand are left out", self.0.len())
        })
    }
}

/// Looks at every promise. Without a client, those that need Temporal are not shown.
pub async fn prove(pool: &PgPool, client: Option<&Client>) -> Result<Vec<Finding>, ProveError> {
    let mut moment = pool.begin_with("begin isolation level repeatable read, read only").await?;
    let db = &mut *moment;
    let by_hand = ByHand::read(db).await?;
    let mut findings = books::look(db, &by_hand).await?;
    findings.extend(stock::look(db).await?);
    findings.extend(money::look(db, &by_hand).await?);
    findings.extend(record::look(db).await?);
    findings.extend(stock::look_at_finished_orders(db, &by_hand).await?);
    let (deadlines, known) = under_way::look(db).await?;
    findings.push(deadlines);
    let private = privacy::read(db).await?;
    findings.extend(privacy::look(db, &private).await?);
    moment.commit().await?;
    if let Some(client) = client {
        findings.extend(under_way::look_at_workflows(pool, client, known).await?);
        findings.push(privacy::look_at_histories(client, &private).await?);
    } else {
        findings.extend(under_way::without_temporal());
        findings.push(privacy::without_temporal());
    }
    findings.push(Finding::not_shown(
        "I8",
        "every consumer takes effect once",
        "consumers keep records of their own, and none of them is in this database",
    ));
    findings.sort_by_key(|finding| {
        finding.invariant.trim_start_matches('I').parse::<u8>().unwrap_or(u8::MAX)
    });
    Ok(findings)
}

/// Counts are never negative; one that is would be a bug worth seeing.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
