//! Through the activities, as somebody who can start workflows in Temporal might.

use activities::{ActivityFault, ledger};
use domain::ledger::Posting;
use serde_json::{Value, json};

use super::{Books, LedgerError, Tried, Verdict};

pub(super) async fn try_all(books: &Books) -> Result<Vec<Tried>, LedgerError> {
    let booked = books.posting().await?;
    let mut tried = Vec::new();
    for (what, posting) in doctored(&booked) {
        let before = books.fingerprint().await?;
        let verdict = match serde_json::from_value::<Posting>(posting) {
            Err(unreadable) => Verdict::Refused(format!("the activity's argument: {unreadable}")),
            Ok(posting) => {
                judged(books, &before, ledger::post(&books.database, &posting).await).await?
            }
        };
        tried.push(Tried { by: "an activity", what: what.to_owned(), verdict });
    }
    let posting = serde_json::from_value::<Posting>(booked)?;
    let before = books.fingerprint().await?;
    let (one, other) = futures::join!(
        ledger::post(&books.database, &posting),
        ledger::recognise_revenue(&books.database, &posting),
    );
    let verdict = judged(books, &before, one.and(other)).await?;
    let what = "the same posting twice more, both at once".to_owned();
    tried.push(Tried { by: "an activity", what, verdict });
    Ok(tried)
}

fn doctored(booked: &Value) -> Vec<(&'static str, Value)> {
    let with = |pointer: &str, value: Value| {
        let mut posting = booked.clone();
        if let Some(place) = posting.pointer_mut(pointer) {
            *place = value;
        }
        posting
    };
    let mut twice = booked.clone();
    for place in ["/entries/0/amount/amount", "/entries/1/amount/amount"] {
        if let Some(amount) = twice.pointer_mut(place) {
            *amount = json!("1000000.00");
        }
    }
    vec![
        ("a posting with more debit than credit", with("/entries/0/amount/amount", json!("99.99"))),
        ("a posting in two currencies", with("/entries/0/amount/currency", json!("EUR"))),
        ("a posting of a negative amount", with("/entries/0/amount/amount", json!("-1.00"))),
        ("a posting of nothing", with("/entries", json!([]))),
        ("a posting to an unknown account", with("/entries/0/account", json!("petty-cash"))),
        ("other amounts under a key that is booked", twice),
    ]
}

async fn judged(
    books: &Books,
    before: &str,
    answer: Result<(), ActivityFault>,
) -> Result<Verdict, LedgerError> {
    Ok(match answer {
        Ok(()) => books.judged(before).await?,
        Err(ActivityFault::Unavailable { doing, .. }) => {
            Verdict::Pointless(format!("no answer while {doing}"))
        }
        Err(fault @ ActivityFault::Rejected(_)) => Verdict::Refused(fault.to_string()),
        Err(ActivityFault::Broken { source, .. }) => Verdict::Refused(source.to_string()),
    })
}
