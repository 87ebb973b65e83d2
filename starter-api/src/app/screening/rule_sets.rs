//! Rule sets of screening: the active one, those on trial, and the results of a trial.

use chrono::{DateTime, Utc};
use domain::screening::{RuleSet, Verdict};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use strum::EnumString;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::{line_of_text, number_as_written};
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// The maximum number of screenings in a trial's result, newest first.
const TRIED_MAX: i64 = 10_000;

/// A rule set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleSet)]
pub(crate) struct RuleSetResource {
    /// The number of the rule set.
    #[schema(example = 2)]
    version: i32,
    /// Its state.
    state: RuleSetState,
    /// When it was added.
    added_at: DateTime<Utc>,
    /// Who added it, as named by their token; absent if it was the owner of the schemas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    added_by: Option<String>,
    /// The reason for adding it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "a limit for networks")]
    why: Option<String>,
    /// When it was last activated, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<DateTime<Utc>>,
    /// Who activated it, as named by their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    activated_by: Option<String>,
    /// The reason for activating it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "it stops nobody who is known")]
    activated_why: Option<String>,
    /// The rules, as they were added.
    #[schema(value_type = RuleSet)]
    rules: Value,
}

/// The state of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, EnumString, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum RuleSetState {
    /// It decides about all orders screened from now on.
    Active,
    /// On trial: its decisions are recorded without any effect.
    Shadow,
    /// Neither: another one is active, and it is not the newest, or was active before.
    Retired,
}

/// What a rule set on trial would have decided about orders that the active one has screened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trial {
    /// The rule set.
    #[schema(example = 2)]
    version: i32,
    /// The number of screenings in this result: the newest of the trial, at most 10000.
    #[schema(example = 812)]
    screenings: i64,
    /// How often it would have made each decision.
    outcomes: Vec<TrialOutcome>,
    /// How often each of its rules matched, most frequent first.
    rules: Vec<TrialRule>,
}

/// Screenings with the same pair of decisions: that of the active rule set and that of the trial.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialOutcome {
    /// The decision of the active rule set.
    #[schema(value_type = Verdict)]
    decided: String,
    /// The decision of the rule set on trial.
    #[schema(value_type = Verdict)]
    would: String,
    /// How often.
    #[schema(example = 9)]
    screenings: i64,
    /// Example orders, newest first; at most five.
    orders: Vec<Uuid>,
}

/// A rule of a rule set on trial.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialRule {
    /// The rule's name.
    #[schema(example = "network-hourly")]
    rule: String,
    /// How often it matched.
    #[schema(example = 9)]
    held: i64,
}

/// Reads rule sets as [`Row`]s: every query selects the same columns.
macro_rules! rule_sets_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select known.version as "version!", known.rules as "rules!",
                 known.added_at as "added_at!", known.added_by as "added_by?",
                 known.why as "why?", latest.activated_at as "activated_at?",
                 latest.activated_by as "activated_by?", latest.why as "activated_why?",
                 case
                     when in_use.version is null then 'retired'
                     when in_use.is_active then 'active'
                     else 'shadow'
                 end as "state!"
             from fraud.rule_sets as known
             left join fraud.rule_sets_in_use as in_use on in_use.version = known.version
             left join lateral (
                 select activated_at, activated_by, why from fraud.activations
                 where rule_set = known.version order by activation desc limit 1
             ) as latest on true
             "# + $condition,
            $($argument),+
        )
    };
}

/// A rule set, as stored.
struct Row {
    version: i32,
    rules: Value,
    added_at: DateTime<Utc>,
    added_by: Option<String>,
    why: Option<String>,
    activated_at: Option<DateTime<Utc>>,
    activated_by: Option<String>,
    activated_why: Option<String>,
    state: String,
}

impl TryFrom<Row> for RuleSetResource {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let state = row.state.parse::<RuleSetState>();
        let state = state.map_err(|error| Problem::internal("reading a set of rules", &error))?;
        Ok(Self {
            version: row.version,
            state,
            added_at: row.added_at,
            added_by: row.added_by,
            why: row.why,
            activated_at: row.activated_at,
            activated_by: row.activated_by,
            activated_why: row.activated_why,
            rules: row.rules,
        })
    }
}

/// A page of the rule sets before the cursor, newest first.
pub(crate) async fn list(
    app: &App,
    before: Option<i32>,
    size: PageSize,
) -> Result<Page<RuleSetResource>, Problem> {
    let rows = rule_sets_where!(
        "where $1::integer is null or known.version < $1 order by known.version desc limit $2",
        before,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing the sets of rules")?;
    let sets = rows.into_iter().map(RuleSetResource::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(sets, size, |last: &RuleSetResource| last.version.to_string()))
}

/// One rule set.
///
/// **Errors.** 404 if there is none with this version.
pub(crate) async fn show(app: &App, version: &str) -> Result<RuleSetResource, Problem> {
    read(&app.database, version_of(version)?).await
}

/// Adds a rule set. It is on trial until another one is added or it is activated.
///
/// **Errors.** 422 with the faults of the rule set.
pub(crate) async fn add(
    app: &App,
    caller: &Caller,
    set: &RuleSet,
    why: &str,
) -> Result<RuleSetResource, Problem> {
    const DOING: &str = "bringing in a set of rules";
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    for fault in set.faults() {
        rules.broken(format_args!("/rules{}", fault.pointer), fault.why);
    }
    let why = rules.kept(why)?;
    let written = serde_json::to_value(set).map_err(|error| Problem::internal(DOING, &error))?;
    let by = caller.name();
    let version = sqlx::query_scalar!(
        r#"select fraud.add_rule_set($1, $2, $3) as "version!""#,
        written,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    tracing::warn!(version, by, "a set of rules is brought in");
    read(&app.database, version).await
}

/// The outcome of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
enum Activating {
    /// It is active from now on.
    Activated,
    /// It was active already.
    Active,
    /// There is no such rule set.
    Unknown,
}

/// Activates a rule set for the next orders: one on trial, or one that was active before.
///
/// **Repeats.** Activating the active rule set changes nothing, not even who activated it.
///
/// **Errors.** 404 if there is none with this version.
pub(crate) async fn activate(
    app: &App,
    caller: &Caller,
    version: &str,
    why: &str,
) -> Result<RuleSetResource, Problem> {
    const DOING: &str = "activating a set of rules";
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    let (version, by) = (version_of(version)?, caller.name());
    let outcome = sqlx::query_scalar!(
        r#"select fraud.activate_rule_set($1, $2, $3) as "outcome!""#,
        version,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    let outcome = outcome.parse::<Activating>();
    match outcome.map_err(|error| Problem::internal(DOING, &error))? {
        Activating::Activated => tracing::warn!(version, by, "a set of rules is activated"),
        Activating::Active => {}
        Activating::Unknown => return Err(not_found()),
    }
    read(&app.database, version).await
}

/// What a rule set would have decided about the orders of its trial.
///
/// **Errors.** 404 if there is none with this version.
pub(crate) async fn trial(app: &App, version: &str) -> Result<Trial, Problem> {
    const DOING: &str = "reading what rules would have decided";
    let RuleSetResource { version, .. } = show(app, version).await?;
    let outcomes = sqlx::query_as!(
        TrialOutcome,
        r#"
        select screenings.verdict as "decided!", tried.verdict as "would!",
            count(*) as "screenings!",
            (array_agg(tried.order_id order by tried.tried_at desc))[1:5] as "orders!"
        from (
            select * from fraud.trials where rule_set = $1 order by tried_at desc limit $2
        ) as tried
        join fraud.screenings on screenings.order_id = tried.order_id
            and screenings.version = tried.version and screenings.attempt = tried.attempt
        group by screenings.verdict, tried.verdict
        order by screenings.verdict, tried.verdict
        "#,
        version,
        TRIED_MAX,
    );
    let outcomes = outcomes.fetch_all(&app.database).await.or_problem(DOING)?;
    let rules = sqlx::query_as!(
        TrialRule,
        r#"
        select found.finding ->> 'rule' as "rule!", count(*) as "held!"
        from (
            select findings from fraud.trials where rule_set = $1 order by tried_at desc limit $2
        ) as tried
        cross join lateral jsonb_array_elements(tried.findings) as found (finding)
        group by found.finding ->> 'rule'
        order by count(*) desc, found.finding ->> 'rule'
        "#,
        version,
        TRIED_MAX,
    );
    let rules = rules.fetch_all(&app.database).await.or_problem(DOING)?;
    let screenings = outcomes.iter().map(|one| one.screenings).fold(0, i64::saturating_add);
    Ok(Trial { version, screenings, outcomes, rules })
}

async fn read(database: &PgPool, version: i32) -> Result<RuleSetResource, Problem> {
    let row = rule_sets_where!("where known.version = $1", version)
        .fetch_optional(database)
        .await
        .or_problem("reading a set of rules")?;
    row.ok_or_else(not_found)?.try_into()
}

fn version_of(text: &str) -> Result<i32, Problem> {
    number_as_written(text).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(Kind::RuleSetNotFound, "There is no set of rules of this version.")
}
