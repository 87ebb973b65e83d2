//! The demo's output: before, which orders will be placed; after, how they ended, and the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use domain::ProviderName;
use rust_decimal::Decimal;
use serde::Deserialize;
use strum::IntoEnumIterator;

use super::parties::Parties;
use super::{Dealings, Demo, DemoError, Event, Outcome, Spans, events, returns};
use crate::latency::{Latencies, Took, per_second, rounded};
use crate::ordersaga::Ordersaga;
use crate::plan::{Ending, Twist};
use crate::prove::prove_with;
use crate::retail::RetailOrders;
use crate::screen::{heading, say};
use crate::stripe::Must;

/// The maximum number of failed orders listed; more usually have the same cause.
const ASTRAY_MAX: usize = 10;

/// The books, as validated by Ordersaga.
#[derive(Deserialize)]
struct Books {
    valid: bool,
    trial_balances: Vec<TrialBalance>,
}

#[derive(Deserialize)]
struct TrialBalance {
    currency: String,
    debits: Decimal,
    credits: Decimal,
    accounts: Vec<AccountSum>,
}

#[derive(Deserialize)]
struct AccountSum {
    account: String,
    normal_side: String,
    balance: Decimal,
}

impl Books {
    /// Whether payment clearing is zero after the provider has paid out everything.
    fn is_cleared(&self) -> bool {
        let accounts = self.trial_balances.iter().flat_map(|balance| &balance.accounts);
        let mut clearing = accounts.filter(|sum| sum.account == "payment-clearing");
        clearing.all(|sum| sum.balance.is_zero())
    }
}

/// Prints what is about to happen.
pub(super) fn opening(demo: &Demo, read: &RetailOrders) -> Result<(), DemoError> {
    let source = demo.orders.as_ref().map_or_else(
        || "the sample of a real wholesaler's year".to_owned(),
        |path| path.display().to_string(),
    );
    say(format_args!("{} orders from {source}, placed at {}", demo.count, demo.api.url()))?;
    if demo.provider == ProviderName::Stripe {
        say("paid through a counterpart of Stripe, at which one request in four goes wrong")?;
        say(match demo.webhook_secrets {
            Some(_) => "it tells what happens there: of four events one never, one twice, one late",
            None => "it tells nothing of what happens there: STRIPE_WEBHOOK_SECRETS is not set",
        })?;
    }
    for (why, times) in &read.refused {
        say(format_args!("  {times} not placed: {why}"))?;
    }
    Ok(())
}

/// Prints the results. Returns whether everything is correct.
pub(super) async fn closing(
    demo: &Demo,
    dealings: Dealings<'_>,
    parties: Parties<'_>,
    outcomes: &[Outcome],
    spans: Spans,
) -> Result<bool, DemoError> {
    let Dealings { shop, finance, stripe, .. } = dealings;
    let as_planned = endings(outcomes)?;
    speed(outcomes, spans)?;
    let is_reconciled = match stripe {
        Some(stripe) => stripe.pays_out_and_agrees().await?,
        None => true,
    };
    let books = books(finance).await?;
    let is_cleared = stripe.is_none() || books.is_cleared();
    let told = parties.show(dealings, outcomes).await?;
    let proven = prove_with(told.consumed.inbox.as_deref()).await.map_err(DemoError::Prove)?;
    let is_paid_right = match stripe {
        Some(stripe) => stripe.account(&must_have(outcomes)).await?,
        None => true,
    };
    lives(shop, outcomes).await?;
    directions(demo, outcomes)?;
    verdict(&[
        (as_planned, "an order did not end where it should"),
        (is_reconciled, "Stripe and the shop do not say the same"),
        (books.valid, "the books do not balance"),
        (is_cleared, "all is paid out, and something is left in payment clearing"),
        (told.all_heard, "an event has not reached every receiver"),
        (
            told.consumed.is_enough,
            "a consumer has not taken effect of the events that it was given",
        ),
        (told.is_invoiced_right, "an invoice or a credit note is not what it must be"),
        (told.all_mailed, "a mail is parked, or still to be sent"),
        (proven, "`ordersaga prove` found a fault"),
        (is_paid_right, "Stripe's own account is not what it should be"),
    ])
}

/// What Stripe must have done for each ended order, by the order's id.
fn must_have(outcomes: &[Outcome]) -> BTreeMap<String, Must> {
    let ended = outcomes.iter().filter_map(|outcome| Some((outcome, outcome.end.as_ref()?)));
    let must = ended.map(|(outcome, end)| {
        let is_returned = outcome.planned.twist == Twist::ReturnedInPart;
        let returned = if is_returned { returns::UNITS } else { 0 };
        let stands = end.order.status == "completed";
        let must = if stands { Must::HaveTaken { returned } } else { Must::KeepNothing };
        (end.order.id.clone(), must)
    });
    must.collect()
}

fn endings(outcomes: &[Outcome]) -> Result<bool, DemoError> {
    heading("what became of them")?;
    say(format_args!("{:<37} {:>6}  {}", "asked for", "orders", "must end"))?;
    for twist in Twist::iter() {
        let these = outcomes.iter().filter(|outcome| outcome.planned.twist == twist);
        let (count, met) = these.fold((0_u32, 0_u32), |(count, met), outcome| {
            let one = u32::from(outcome.is_as_planned());
            (count.saturating_add(1), met.saturating_add(one))
        });
        if count > 0 {
            let mark = if met == count { "✔".to_owned() } else { format!("✘ only {met}") };
            let (told, ending) = (twist.told(), must_end(twist));
            say(format_args!("{told:<37} {count:>6}  {ending:<32} {mark}"))?;
        }
    }
    statuses(outcomes)?;
    let astray = outcomes.iter().filter(|outcome| !outcome.is_as_planned()).collect::<Vec<_>>();
    for outcome in astray.iter().take(ASTRAY_MAX) {
        say(format_args!("✘ {}", went_astray(outcome)))?;
    }
    if let Some(more @ 1..) = astray.len().checked_sub(ASTRAY_MAX) {
        say(format_args!("✘ and {more} more"))?;
    }
    Ok(astray.is_empty())
}

/// The number of orders by status, whatever was expected.
fn statuses(outcomes: &[Outcome]) -> Result<(), DemoError> {
    let mut counted = BTreeMap::<String, (u32, u32)>::new();
    for outcome in outcomes {
        let expected = counted.entry(told(outcome.planned.twist.ending())).or_default();
        expected.0 = expected.0.saturating_add(1);
        let actual = counted.entry(ended_as(outcome)).or_default();
        actual.1 = actual.1.saturating_add(1);
    }
    let line = |(status, (expected, actual)): (&String, &(u32, u32))| {
        format!("{status} {actual}/{expected}")
    };
    let told = counted.iter().map(line).collect::<Vec<_>>();
    say(format_args!("actual/expected: {}", told.join(" · ")))?;
    Ok(())
}

/// How an order must end, with its payment's status if that is not obvious.
fn must_end(twist: Twist) -> String {
    let ending = told(twist.ending());
    match twist.dispute() {
        Some(dispute) => format!("{ending}, payment {}", dispute.payment_status()),
        None => ending,
    }
}

fn told(ending: Ending) -> String {
    match ending {
        Ending::Completed => "completed".to_owned(),
        Ending::Cancelled => "cancelled".to_owned(),
        Ending::Rejected(code) => format!("rejected: {code}"),
    }
}

fn ended_as(outcome: &Outcome) -> String {
    match (&outcome.accepted, &outcome.end) {
        (Err(_), _) => "not accepted".to_owned(),
        (Ok(_), None) => "not ended".to_owned(),
        (Ok(_), Some(end)) => end.order.told(),
    }
}

fn went_astray(outcome: &Outcome) -> String {
    let order = match &outcome.accepted {
        Ok(accepted) => accepted.answer.id.clone(),
        Err(_) => format!("invoice {}", outcome.planned.invoice),
    };
    let trouble = outcome.trouble.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let planned = must_end(outcome.planned.twist);
    format!("{order}: {}, must be {planned}{trouble}", ended_as(outcome))
}

fn speed(outcomes: &[Outcome], spans: Spans) -> Result<(), DemoError> {
    let (mut accepted, mut ended) = (Latencies::new()?, Latencies::new()?);
    let mut sent_again = 0_u32;
    for outcome in outcomes {
        if let Ok(answered) = &outcome.accepted {
            accepted.record(answered.took);
            sent_again = sent_again.saturating_add(answered.repeats);
        }
        if let Some(end) = &outcome.end {
            ended.record(end.took);
        }
    }
    let count = u64::try_from(outcomes.len()).unwrap_or(u64::MAX);
    heading("how long it took")?;
    say(format_args!(
        "to accepted  p50 {:>7}  p99 {:>7}   by the shop's clock, from the first try on",
        accepted.p50(),
        accepted.p99()
    ))?;
    say(format_args!(
        "to the end   p50 {:>7}  p99 {:>7}   by its events' times, troubles included",
        ended.p50(),
        ended.p99()
    ))?;
    say(format_args!(
        "{count} orders placed in {}, {} a second; the last had ended after {}",
        Took(spans.until_placed),
        rounded(per_second(count, spans.until_placed), 1),
        Took(spans.until_ended),
    ))?;
    say(format_args!("requests retried without an answer: {sent_again}"))?;
    Ok(())
}

async fn books(finance: &Ordersaga) -> Result<Books, DemoError> {
    let books =
        finance.get::<Books>("asking whether the books balance", "/v1/ledger/validate").await?;
    for balance in &books.trial_balances {
        heading(format_args!("the books, in {}", balance.currency))?;
        say(format_args!("{:<22} {:>18} {:>18}", "", "debit", "credit"))?;
        for AccountSum { account, normal_side, balance } in &balance.accounts {
            let (debit, credit) = match normal_side.as_str() {
                "debit" => (balance.to_string(), String::new()),
                _ => (String::new(), balance.to_string()),
            };
            say(format_args!("{account:<22} {debit:>18} {credit:>18}"))?;
        }
        let mark = if balance.debits == balance.credits { "✔" } else { "✘" };
        say(format_args!(
            "{:<22} {:>18} {:>18} {mark}",
            "everything ever booked", balance.debits, balance.credits
        ))?;
    }
    Ok(books)
}

/// One order that succeeded, and the one with the most undos.
async fn lives(shop: &Ordersaga, outcomes: &[Outcome]) -> Result<(), DemoError> {
    for twist in [Twist::LostAnswer, Twist::Approved, Twist::DisputeWon, Twist::Undeliverable] {
        let example = outcomes.iter().find(|outcome| outcome.planned.twist == twist);
        if let Some(end) = example.and_then(|outcome| outcome.end.as_ref()) {
            heading(format_args!("order {}: {}", end.order.id, twist.told()))?;
            for event in events(shop, &end.order.id).await? {
                say(life_line(&event, &end.order.placed_at))?;
            }
        }
    }
    Ok(())
}

fn life_line(event: &Event, placed_at: &chrono::DateTime<chrono::Utc>) -> String {
    let after = event.occurred_at.signed_duration_since(placed_at).to_std().unwrap_or_default();
    format!("  + {:>7}  {}", Took(after), event.kind)
}

fn directions(demo: &Demo, outcomes: &[Outcome]) -> Result<(), DemoError> {
    heading("see for yourself")?;
    if let Ok(ui) = env::var("TEMPORAL_UI_URL") {
        let namespace = env::var("TEMPORAL_NAMESPACE").unwrap_or_else(|_| "default".to_owned());
        let workflows = format!("{}/namespaces/{namespace}/workflows", ui.trim_end_matches('/'));
        say(format_args!("every rejected order   {workflows}?query=OrderStatus%3D%22rejected%22"))?;
        let unwound = outcomes.iter().find(|outcome| outcome.planned.twist == Twist::Undeliverable);
        if let Some(end) = unwound.and_then(|outcome| outcome.end.as_ref()) {
            say(format_args!("the one unwound above  {workflows}/order-{}", end.order.id))?;
        }
    }
    say(format_args!("the API, to try        {}/docs", demo.api.url()))?;
    Ok(())
}

/// Prints whether everything is correct.
fn verdict(all: &[(bool, &str)]) -> Result<bool, DemoError> {
    let failed = all.iter().filter(|(held, _)| !held).map(|(_, fault)| *fault);
    let failed = failed.collect::<BTreeSet<_>>();
    if failed.is_empty() {
        say(
            "\n✔ Every order ended where it should, every repeat met its first order, and all records agree.",
        )?;
    }
    for fault in &failed {
        say(format_args!("\n✘ {fault}."))?;
    }
    Ok(failed.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payment_clearing_is_cleared_when_nothing_of_any_currency_is_left_in_it() {
        let sum = |account: &str, balance: &str| {
            let side = "debit";
            json!({ "account": account, "normal_side": side, "balance": balance })
        };
        let balance = |currency: &str, left: &str| {
            let accounts = [sum("payment-clearing", left), sum("bank", "7.00")];
            json!({ "currency": currency, "debits": "7", "credits": "7", "accounts": accounts })
        };
        let books = |pounds: &str, euros: &str| {
            let balances = [balance("GBP", pounds), balance("EUR", euros)];
            let books = json!({ "valid": true, "trial_balances": balances });
            serde_json::from_value::<Books>(books).unwrap()
        };
        assert!(books("0.00", "0").is_cleared());
        assert!(!books("0.00", "0.01").is_cleared());
        assert!(!books("-0.01", "0.00").is_cleared());
    }

    #[test]
    fn a_disputed_order_must_end_with_its_payment_as_the_bank_decides() {
        assert_eq!(must_end(Twist::DisputeLost), "completed, payment refunded");
        assert_eq!(must_end(Twist::Declined), "rejected: card-declined");
    }
}
