//! The records of fraud screening.

use std::collections::BTreeSet;
use std::num::TryFromIntError;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::screening::{
    Assessment, Count, Facts, Listing, ReviewDecision, RiskLevel, RuleSet, Window,
};
use domain::{CountryCode, StepKey, StepName};
use runtime::database::Db;
use serde_json::Value;

use crate::ActivityFault;
use crate::idempotency;

/// A set of rules.
pub(super) struct Rules {
    pub(super) version: u32,
    pub(super) set: RuleSet,
}

/// The rule sets in use.
pub(super) struct InUse {
    /// The active set.
    pub(super) active: Rules,
    /// The shadow set, if there is one.
    pub(super) shadow: Option<Rules>,
}

/// A pending review.
pub(super) struct Review {
    pub(super) until: DateTime<Utc>,
    /// Whether its deadline has passed, by the database's clock.
    pub(super) is_over: bool,
    /// The default decision after the deadline.
    pub(super) otherwise: ReviewDecision,
}

/// The result of screening an order, to be recorded.
pub(super) struct Screened<'a> {
    pub(super) rule_set: u32,
    pub(super) facts: &'a Facts,
    pub(super) assessment: &'a Assessment,
}

/// Facts from the customer's earlier orders and from the order's payment.
pub(super) struct Known {
    pub(super) is_first_order: bool,
    pub(super) usual_country: Option<CountryCode>,
    pub(super) method_country: Option<CountryCode>,
    pub(super) risk: Option<RiskLevel>,
}

/// The number of this screening of the order, as a database integer.
fn attempt(key: StepKey) -> Result<i32, ActivityFault> {
    i32::try_from(key.attempt).map_err(|error| ActivityFault::broken("screening an order", error))
}

fn word<T: FromStr>(doing: &'static str, word: &str) -> Result<T, ActivityFault> {
    word.parse().map_err(|_unknown| ActivityFault::broken(doing, format!("`{word}` is not known")))
}

fn country(
    doing: &'static str,
    code: Option<String>,
) -> Result<Option<CountryCode>, ActivityFault> {
    let country = code.map(|code| CountryCode::parse(&code)).transpose();
    country.map_err(|error| ActivityFault::broken(doing, error))
}

/// Reads the active rule set and the shadow set.
///
/// **Errors.** Unavailable if this release understands no active set: the order waits until an
/// operator fixes that. A shadow set that is not understood is ignored.
pub(super) async fn rules(db: Db<'_>) -> Result<InUse, ActivityFault> {
    const DOING: &str = "reading the rules of screening";
    let unusable = |why: String| ActivityFault::Unavailable {
        doing: DOING,
        retry_after: None,
        source: why.into(),
    };
    let rows = sqlx::query!(
        r#"select version as "version!", rules as "rules!", is_active as "is_active!"
           from fraud.rule_sets_in_use"#
    );
    let rows = rows.fetch_all(db).await;
    let rows = rows.map_err(|error| ActivityFault::of_database(DOING, error))?;
    let (mut active, mut shadow) = (Err("none counts".to_owned()), None);
    for row in rows {
        let read = read_rules(row.version, row.rules);
        if row.is_active {
            active = read;
        } else {
            shadow = read
                .inspect_err(|why| tracing::warn!(why = why.as_str(), "shadow rules are unusable"))
                .ok();
        }
    }
    Ok(InUse { active: active.map_err(unusable)?, shadow })
}

fn read_rules(version: i32, rules: Value) -> Result<Rules, String> {
    let unusable = |why: &dyn std::error::Error| format!("version {version} is not usable: {why}");
    let set = serde_json::from_value::<RuleSet>(rules).map_err(|error| unusable(&error))?;
    let version = u32::try_from(version).map_err(|error| unusable(&error))?;
    Ok(Rules { version, set })
}

/// Counts the order for its subjects, once; returns the number of orders in each window.
pub(super) async fn counts(
    db: Db<'_>,
    key: StepKey,
    windows: &BTreeSet<Window>,
) -> Result<Vec<Count>, ActivityFault> {
    const DOING: &str = "counting orders";
    let kinds: Vec<String> = windows.iter().map(|window| window.of.name().to_owned()).collect();
    let seconds: Vec<i32> =
        windows.iter().map(|window| i32::try_from(window.seconds).unwrap_or(i32::MAX)).collect();
    let rows = sqlx::query!(
        r#"select subject as "subject!", seconds as "seconds!", how_many as "how_many!"
           from fraud.count_order($1, $2, $3, $4)"#,
        key.order_id.uuid(),
        idempotency::version(key)?,
        &kinds,
        &seconds,
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let below_zero = |error: TryFromIntError| ActivityFault::broken(DOING, error);
    let count = |(subject, seconds, how_many): (String, i32, i64)| -> Result<Count, ActivityFault> {
        let window = Window {
            of: word(DOING, &subject)?,
            seconds: u32::try_from(seconds).map_err(below_zero)?,
        };
        Ok(Count { window, orders: u64::try_from(how_many).map_err(below_zero)? })
    };
    rows.into_iter().map(|row| count((row.subject, row.seconds, row.how_many))).collect()
}

/// The order's subjects that are on a list.
pub(super) async fn listings(db: Db<'_>, key: StepKey) -> Result<Vec<Listing>, ActivityFault> {
    const DOING: &str = "looking at the lists";
    let rows = sqlx::query!(
        r#"select entries.list as "list!", entries.kind as "kind!"
           from fraud.fingerprints_of($1) as known
           join fraud.entries
               on entries.kind = known.kind and entries.fingerprint = known.fingerprint
           order by entries.kind"#,
        key.order_id.uuid(),
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let listing = |(list, kind): (String, String)| -> Result<Listing, ActivityFault> {
        Ok(Listing { list: word(DOING, &list)?, subject: word(DOING, &kind)? })
    };
    rows.into_iter().map(|row| listing((row.list, row.kind))).collect()
}

/// Reads the customer's last fifty completed orders, and the order's newest payment.
pub(super) async fn known(db: Db<'_>, key: StepKey) -> Result<Known, ActivityFault> {
    const DOING: &str = "looking at what is known of an order";
    let row = sqlx::query!(
        r#"
        with recent as materialized (
            select earlier.country, earlier.placed_at
            from orders.orders as placed
            join orders.orders as earlier on earlier.customer_id = placed.customer_id
            where placed.order_id = $1 and earlier.order_id <> $1 and earlier.status = 'completed'
            order by earlier.placed_at desc limit 50
        )
        select
            not exists (select from recent) as "is_first_order!",
            (
                select country from recent
                group by country order by count(*) desc, max(placed_at) desc limit 1
            ) as "usual_country?",
            charge.risk_level as "risk_level?", charge.method_country as "method_country?"
        from (values (true)) as always
        left join lateral (
            select risk_level, method_country from payments.charges
            where charges.order_id = $1 order by attempt desc limit 1
        ) as charge on true
        "#,
        key.order_id.uuid(),
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    Ok(Known {
        is_first_order: row.is_first_order,
        usual_country: country(DOING, row.usual_country)?,
        method_country: country(DOING, row.method_country)?,
        risk: row.risk_level.map(|level| word(DOING, &level)).transpose()?,
    })
}

/// The review of this screening, if it is pending.
pub(super) async fn waiting(db: Db<'_>, key: StepKey) -> Result<Option<Review>, ActivityFault> {
    const DOING: &str = "looking up a review";
    let row = sqlx::query!(
        r#"select review_until, review_until <= now() as "is_over!", otherwise
           from fraud.reviews
           where (order_id, version, attempt) = ($1, $2, $3) and decision is null"#,
        key.order_id.uuid(),
        idempotency::version(key)?,
        attempt(key)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let review = row.map(|row| -> Result<Review, ActivityFault> {
        let otherwise = word(DOING, &row.otherwise)?;
        Ok(Review { until: row.review_until, is_over: row.is_over, otherwise })
    });
    review.transpose()
}

impl Screened<'_> {
    fn findings(&self) -> Result<Value, ActivityFault> {
        let findings = serde_json::to_value(&self.assessment.findings).map(idempotency::storable);
        findings.map_err(|error| ActivityFault::broken("writing down what rules found", error))
    }

    fn rule_set(&self) -> Result<i32, ActivityFault> {
        i32::try_from(self.rule_set)
            .map_err(|error| ActivityFault::broken("naming a set of rules", error))
    }
}

/// Records the shadow set's decision about the order, once. It has no effect, and is only compared
/// with a recorded screening.
pub(super) async fn try_out(
    db: Db<'_>,
    key: StepKey,
    tried: &Screened<'_>,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        r#"
        insert into fraud.trials (order_id, version, attempt, rule_set, verdict, weight, findings)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict do nothing
        "#,
        key.order_id.uuid(),
        idempotency::version(key)?,
        attempt(key)?,
        tried.rule_set()?,
        tried.assessment.verdict.name(),
        i64::from(tried.assessment.weight),
        tried.findings()?,
    )
    .execute(db)
    .await
    .map(|_tried| ())
    .map_err(|error| ActivityFault::of_database("trying rules out", error))
}

/// Records the step's answer and its reasons; returns it, unless another attempt was first.
pub(super) async fn answer(
    db: Db<'_>,
    key: StepKey,
    screened: &Screened<'_>,
    outcome: &Value,
) -> Result<Option<Value>, ActivityFault> {
    let Screened { facts, assessment, .. } = screened;
    sqlx::query_scalar!(
        r#"
        with taken as materialized (
            select orders.take_step($1, $2, $3, $4) as outcome
        ), kept as (
            insert into fraud.screenings (
                order_id, version, attempt, rule_set, verdict, weight, findings, risk_level,
                method_country
            )
            select $1, $3, $5, $6, $7, $8, $9, $10, $11 from taken where outcome is not null
        )
        select outcome as "outcome!" from taken where outcome is not null
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        outcome,
        attempt(key)?,
        screened.rule_set()?,
        assessment.verdict.name(),
        i64::from(assessment.weight),
        screened.findings()?,
        facts.risk.map(RiskLevel::name),
        facts.method_country.map(|country| country.to_string()),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a screening", error))
}

/// Begins the step's record, leaves it unanswered, and requests a review. Does nothing if the step
/// is begun, answered or undone already; or if it is the second screening and the first one is
/// undone, because that undo withdraws all reviews requested before it.
pub(super) async fn ask(
    db: Db<'_>,
    key: StepKey,
    screened: &Screened<'_>,
    seconds: u32,
    otherwise: ReviewDecision,
) -> Result<(), ActivityFault> {
    let Screened { facts, assessment, .. } = screened;
    sqlx::query!(
        r#"
        with first as materialized (
            -- A tombstone waits for this, or this finds it.
            select order_id from orders.step_keys
            where (order_id, step, version) = ($1, $14, $3) and undone_at is null
            for share
        ), begun as (
            insert into orders.step_keys (order_id, step, version)
            select $1::uuid, $2::text, $3::integer
            where $2::text = $14 or exists (select from first)
            on conflict do nothing
            returning order_id
        ), kept as (
            insert into fraud.screenings (
                order_id, version, attempt, rule_set, verdict, weight, findings, risk_level,
                method_country
            )
            select order_id, $3, $4, $5, $6, $7, $8, $9, $10 from begun
        ), asked as (
            insert into fraud.reviews (order_id, version, attempt, review_until, otherwise)
            select order_id, $3, $4, now() + $11::bigint * interval '1 second', $12 from begun
            returning review_until
        )
        select orders.record(
            $1, $13, jsonb_build_object('until', orders.in_utc(review_until))
        ) as number
        from asked
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        attempt(key)?,
        screened.rule_set()?,
        assessment.verdict.name(),
        i64::from(assessment.weight),
        screened.findings()?,
        facts.risk.map(RiskLevel::name),
        facts.method_country.map(|country| country.to_string()),
        i64::from(seconds),
        otherwise.name(),
        EventType::ReviewNeeded.name(),
        StepName::ScreenOrder.name(),
    )
    .fetch_optional(db)
    .await
    .map(|_asked| ())
    .map_err(|error| ActivityFault::of_database("asking for a review", error))
}

/// Decides a review by default after its deadline. Does nothing if it is already decided.
pub(super) async fn conclude_by_default(
    db: Db<'_>,
    key: StepKey,
    otherwise: ReviewDecision,
) -> Result<(), ActivityFault> {
    sqlx::query_scalar!(
        r#"select fraud.conclude_review($1, $2, $3, $4, null, null) as "concluded!""#,
        key.order_id.uuid(),
        idempotency::version(key)?,
        attempt(key)?,
        otherwise.name(),
    )
    .fetch_one(db)
    .await
    .map(|_concluded| ())
    .map_err(|error| ActivityFault::of_database("concluding a review", error))
}

/// Removes the order from the counts, and withdraws its pending reviews.
pub(super) async fn withdraw(db: Db<'_>, key: StepKey) -> Result<(), ActivityFault> {
    sqlx::query!("select fraud.withdraw($1, $2)", key.order_id.uuid(), idempotency::version(key)?,)
        .execute(db)
        .await
        .map(|_withdrawn| ())
        .map_err(|error| ActivityFault::of_database("withdrawing a screening", error))
}
