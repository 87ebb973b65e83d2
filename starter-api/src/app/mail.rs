//! Mails and text messages to customers, for operators. The relay sends them; this module shows
//! them, and records decisions about those that are parked.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use strum::IntoStaticStr;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::{line_of_text, number_as_written};
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// A mail or a text message to a customer, with its state. The recipient is not shown.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the answer says whose number it is")]
pub(crate) struct Notification {
    /// Its number.
    notification_id: i64,
    /// The template.
    #[schema(example = "shipped")]
    template: String,
    /// The channel: `mail` or `sms`.
    #[schema(example = "mail")]
    channel: String,
    /// What triggered it: an event (order id and sequence number), or a wait for an article.
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38:6")]
    fact: String,
    /// The order that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    /// The state.
    #[schema(value_type = NotificationState)]
    state: String,
    /// Whether it is sent again if the outcome of sending is unknown: `at-least-once` or
    /// `at-most-once`.
    #[schema(example = "at-most-once")]
    policy: String,
    /// The number of temporary failures.
    #[schema(example = 0)]
    deferrals: i32,
    /// When it is due, while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<DateTime<Utc>>,
    /// Why it was postponed, parked or skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the server does not take the recipient: 550 5.1.1")]
    why: Option<String>,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it was sent, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<DateTime<Utc>>,
    /// Who made the last decision about it, as named by their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    decided_by: Option<String>,
}

/// The state of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum NotificationState {
    /// It is due now or later.
    Queued,
    /// It is being sent.
    Sending,
    /// The mail server has accepted it.
    Sent,
    /// It cannot be sent, or the outcome of sending is unknown: a person decides.
    Parked,
    /// It will not be sent.
    Skipped,
}

/// Reads notifications: every query selects the same columns.
macro_rules! notifications_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Notification,
            "select notification_id, template, channel, fact, order_id, state, policy, deferrals,
                 case when state in ('queued', 'sending') then next_try_at end as next_try_at,
                 why, created_at, sent_at, decided_by
             from mail.notifications where " + $condition,
            $($argument),+
        )
    };
}

/// Filters of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) state: Option<NotificationState>,
    pub(crate) order_id: Option<Uuid>,
}

/// A page of the notifications after the cursor, oldest first.
pub(crate) async fn list(
    app: &App,
    filter: Filter,
    after: Option<i64>,
    size: PageSize,
) -> Result<Page<Notification>, Problem> {
    let notifications = notifications_where!(
        "($1::text is null or state = $1) and ($2::uuid is null or order_id = $2)
         and notification_id > coalesce($3::bigint, 0)
         order by notification_id limit $4",
        filter.state.map(<&str>::from),
        filter.order_id,
        after,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing notifications")?;
    Ok(Page::of(notifications, size, |last| last.notification_id.to_string()))
}

/// Sends a parked notification again.
///
/// **Repeats.** The notification is not parked any more: the second request is answered 404.
///
/// **Errors.** 404 if no notification of this number is parked.
pub(crate) async fn retry(
    app: &App,
    caller: &Caller,
    notification_id: &str,
) -> Result<Notification, Problem> {
    let notification_id = parse(notification_id)?;
    let by = caller.name();
    let is_queued =
        sqlx::query_scalar!(r#"select mail.retry($1, $2) as "is_queued!""#, notification_id, by,)
            .fetch_one(&app.database)
            .await
            .or_problem("having a notification sent again")?;
    if !is_queued {
        return Err(not_found());
    }
    tracing::info!(notification_id, by, "a notification is sent again");
    read(&app.database, notification_id).await
}

/// Gives up a notification that is parked or queued.
///
/// **Repeats.** The notification is neither any more: the second request is answered 404.
///
/// **Errors.** 404 if no notification of this number is parked or queued.
pub(crate) async fn skip(
    app: &App,
    caller: &Caller,
    notification_id: &str,
    why: &str,
) -> Result<Notification, Problem> {
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    let notification_id = parse(notification_id)?;
    let by = caller.name();
    let is_skipped = sqlx::query_scalar!(
        r#"select mail.skip($1, $2, $3) as "is_skipped!""#,
        notification_id,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("giving a notification up")?;
    if !is_skipped {
        return Err(not_found());
    }
    tracing::warn!(notification_id, by, "a notification is given up");
    read(&app.database, notification_id).await
}

/// Switches off mails of the same kind as the mail with this token, for its customer.
///
/// **Repeats.** Idempotent.
///
/// **Errors.** 404 if no mail has this token.
pub(crate) async fn unsubscribe(app: &App, token: &str) -> Result<(), Problem> {
    let token: Uuid = token.parse().map_err(|_no_token| not_found())?;
    let is_off = sqlx::query_scalar!(r#"select mail.unsubscribe($1) as "is_off!""#, token)
        .fetch_one(&app.database)
        .await
        .or_problem("switching mails off")?;
    if is_off { Ok(()) } else { Err(not_found()) }
}

async fn read(database: &PgPool, notification_id: i64) -> Result<Notification, Problem> {
    notifications_where!("notification_id = $1", notification_id)
        .fetch_optional(database)
        .await
        .or_problem("reading a notification")?
        .ok_or_else(not_found)
}

fn parse(notification_id: &str) -> Result<i64, Problem> {
    number_as_written(notification_id).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(
        Kind::NotificationNotFound,
        "There is no notification with this number in a state that can be decided.",
    )
}
