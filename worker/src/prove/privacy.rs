//! I12: nothing that is sent out or kept permanently contains personal data or a card number.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use prost_reflect::prost::Message as _;
use sqlx::PgConnection;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowListOptions,
};
use temporalio_protos::temporal::api::history::v1::History;
use uuid::Uuid;

use super::logs::LOGS;
use super::{Finding, ProveError, Scope, Seen};

const EVENTS: &str = "no card number, name or street in events and messages";
const HISTORIES: &str = "no card number, name or street in histories (the newest)";
/// The number of newest histories that are read.
const HISTORIES_READ: usize = 100;

/// Shorter words also occur inside other words.
const SHORTEST_NAME: usize = 4;

/// The texts to search for, for each order with an address: recipient and street.
pub(super) struct Private(HashMap<Uuid, [String; 2]>);

impl Private {
    /// The reason why a text about an order violates the promise, if it does.
    fn complaint(&self, order: Option<Uuid>, text: &str) -> Option<&'static str> {
        let named = order.and_then(|order| self.0.get(&order)).is_some_and(|words| {
            words.iter().any(|word| word.chars().count() >= SHORTEST_NAME && text.contains(word))
        });
        match (named, holds_card_number(text)) {
            (true, _) => Some("names its recipient or street"),
            (false, true) => Some("holds what looks like a card number"),
            (false, false) => None,
        }
    }
}

pub(super) async fn read(db: &mut PgConnection, scope: &Scope) -> Result<Private, sqlx::Error> {
    let addresses = sqlx::query!(
        r#"
        select order_id, name, line1
        from orders.orders join customers.addresses using (address_id)
        where $1::uuid[] is null or order_id = any ($1)
        "#,
        scope.orders(),
    )
    .fetch_all(db)
    .await?;
    let words =
        addresses.into_iter().map(|address| (address.order_id, [address.name, address.line1]));
    Ok(Private(words.collect()))
}

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
    private: &Private,
) -> Result<Vec<Finding>, sqlx::Error> {
    let (mut looked_at, mut complaints) = (0_i64, Vec::new());
    let mut texts = sqlx::query!(
        r#"
        select order_id as "order_id!", type as "kind!", data::text as "text!"
        from orders.order_events where $1::uuid[] is null or order_id = any ($1)
        union all
        select aggregateid::uuid, 'the message of ' || type, payload::text from outbox.messages
        where $1 is null or position >= $2 and aggregateid = any ($1::uuid[]::text[])
        "#,
        scope.orders(),
        scope.first_message(),
    )
    .fetch(db);
    while let Some(told) = texts.try_next().await? {
        looked_at = looked_at.saturating_add(1);
        if let Some(complaint) = private.complaint(Some(told.order_id), &told.text) {
            complaints.push(format!("{} of order {} {complaint}", told.kind, told.order_id));
        }
    }
    let remark = format!("{} orders have an address to look for", private.0.len());
    Ok(vec![
        Finding::of("I12", EVENTS, "events and messages", Seen::of(looked_at, complaints))
            .with_remark(Some(remark)),
        Finding::not_shown("I12", LOGS, "logs are kept elsewhere: name them with --logs"),
    ])
}

pub(super) fn without_temporal() -> Finding {
    Finding::not_shown("I12", HISTORIES, "not checked without Temporal")
}

/// A recent proof reads histories that began in its time: it knows the addresses of its orders
/// alone.
pub(super) async fn look_at_histories(
    client: &Client,
    scope: &Scope,
    private: &Private,
) -> Result<Finding, ProveError> {
    let options = WorkflowListOptions::builder().limit(HISTORIES_READ).build();
    let unreadable = |error: &dyn std::fmt::Display| ProveError::Temporal(error.to_string());
    let newest: Vec<_> = client
        .list_workflows(super::under_way::of_every_process() + &scope.started(), options)
        .map_ok(|workflow| (workflow.id().to_owned(), workflow.run_id().to_owned()))
        .try_collect()
        .await
        .map_err(|error| unreadable(&error))?;
    let mut complaints = Vec::new();
    for (workflow_id, _) in &newest {
        let workflow = client.get_workflow_handle::<UntypedWorkflow>(workflow_id.clone());
        let events = workflow
            .fetch_history(WorkflowFetchHistoryOptions::default())
            .into_events()
            .await
            .map_err(|error| unreadable(&error))?;
        // Texts appear verbatim in a message's encoded bytes, and so do those in payloads.
        let bytes = History { events }.encode_to_vec();
        let order = domain::OrderId::of_workflow(workflow_id).map(domain::OrderId::uuid);
        if let Some(complaint) = private.complaint(order, &String::from_utf8_lossy(&bytes)) {
            complaints.push(format!("the history of {workflow_id} {complaint}"));
        }
    }
    let looked_at = i64::try_from(newest.len()).unwrap_or(i64::MAX);
    Ok(Finding::of("I12", HISTORIES, "histories", Seen::of(looked_at, complaints)))
}

/// Whether a text contains 13 to 19 digits, in one piece or grouped by spaces or hyphens, that pass
/// the card numbers' check-digit test. The shop's own ids are ignored: some consist only of digits
/// by chance.
pub(super) fn holds_card_number(text: &str) -> bool {
    // A cheap filter first: hardly any text has that many digits, and there are hundreds of
    // thousands of texts.
    let long = |piece: &[u8]| piece.iter().filter(|byte| byte.is_ascii_digit()).count() >= 13;
    let in_groups = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b' ');
    if !text.as_bytes().split(|byte| !in_groups(byte)).any(|piece| piece.len() >= 13 && long(piece))
    {
        return false;
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ' ';
    without_fractions(text).split(|c: char| !is_part(c)).any(|piece| {
        let mut run = String::new();
        for word in piece.split(' ') {
            if word.chars().all(|c| c.is_ascii_digit() || c == '-') {
                run.extend(word.chars().filter(char::is_ascii_digit));
            } else {
                if is_card_number(&run) {
                    return true;
                }
                run.clear();
                if word.parse::<Uuid>().is_err() && word.split('-').any(is_card_number) {
                    return true;
                }
            }
        }
        is_card_number(&run)
    })
}

/// The text without the fractions of its decimal numbers. A duration in a log line may have 16 of
/// these digits, and one in ten such numbers passes the check-digit test by chance.
fn without_fractions(text: &str) -> String {
    let (mut after_digit, mut after_point, mut in_fraction) = (false, false, false);
    let is_kept = |c: &char| {
        in_fraction = c.is_ascii_digit() && (in_fraction || after_point);
        after_point = *c == '.' && after_digit;
        after_digit = c.is_ascii_digit();
        !in_fraction
    };
    text.chars().filter(is_kept).collect()
}

fn is_card_number(digits: &str) -> bool {
    if !(13..=19).contains(&digits.len()) {
        return false;
    }
    let mut sum: u32 = 0;
    for (place, digit) in digits.chars().rev().enumerate() {
        let Some(value) = digit.to_digit(10) else { return false };
        let value = if place.is_multiple_of(2) { value } else { value.saturating_mul(2) };
        sum = sum.saturating_add(if value > 9 { value.saturating_sub(9) } else { value });
    }
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_found_however_it_is_written() {
        for text in [
            "4111111111111111",
            r#"{"reason":"my card 4111 1111 1111 1111 does not work"}"#,
            r#"{"n":4111111111111111}"#,
            "5500-0000-0000-0004",
            "card:378282246310005.",
            "ref-4111111111111111-x",
            "the card is no.4111111111111111",
            "it took 2.5 s with 4111111111111111",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn what_the_shop_writes_is_no_card_number() {
        for text in [
            r#"{"order_id":"41111111-1111-4111-8111-111111111111"}"#,
            "4111111111111112",
            "2026-11-21T03:31:49.928068188Z",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            r#"["1111111","1111111","11"]"#,
            "SANDBOX00000017",
            "acquired_after_secs=2.4772775879999998 slow_acquire_threshold_secs=2.0",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }
}
