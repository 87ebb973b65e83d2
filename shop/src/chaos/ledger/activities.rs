//! Attacks through activities, as by somebody who can start workflows in Temporal. An activity
//! takes only a reference, so no amount and no account can be passed to it.

use activities::{ActivityFault, ledger};
use domain::{OrderId, StepKey, StepName};
use uuid::Uuid;

use super::{Books, LedgerError, Tried, Verdict};

pub(super) async fn try_all(books: &Books) -> Result<Vec<Tried>, LedgerError> {
    let order_id = books.completed_order().await?;
    let key = |step| StepKey { order_id, step, version: 1, attempt: 1 };
    let nobodys = OrderId::of(Uuid::from_u128(u128::MAX));
    let made_up = StepKey { order_id: nobodys, ..key(StepName::PostEntries) };
    let another_version = StepKey { version: 2, ..key(StepName::PostEntries) };
    let mut tried = Vec::new();
    for (what, key) in [
        ("the payment of an order that nobody placed", made_up),
        ("the payment of a version of an order that there is not", another_version),
        ("a payment that is booked, once more", key(StepName::PostEntries)),
    ] {
        let before = books.fingerprint().await?;
        let answer = ledger::post(&books.database, key).await;
        tried.push(line(what, judged(books, &before, answer).await?));
    }
    let before = books.fingerprint().await?;
    let revenue = key(StepName::RecogniseRevenue);
    let (one, other) = futures::join!(
        ledger::recognise_revenue(&books.database, revenue, "a run"),
        ledger::recognise_revenue(&books.database, revenue, "another run"),
    );
    let verdict = judged(books, &before, one.and(other)).await?;
    tried.push(line("the same sale twice more, both at once", verdict));
    Ok(tried)
}

fn line(what: &str, verdict: Verdict) -> Tried {
    Tried { by: "an activity", what: what.to_owned(), verdict }
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
        Err(fault @ (ActivityFault::Rejected(_) | ActivityFault::NotOpen { .. })) => {
            Verdict::Refused(fault.to_string())
        }
        Err(fault @ ActivityFault::InvalidAnswer { .. }) => Verdict::Pointless(fault.to_string()),
        Err(ActivityFault::Broken { source, .. }) => Verdict::Refused(source.to_string()),
    })
}
