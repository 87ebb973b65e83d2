//! I4, I5 and I6 with an external provider: the findings of the last reconciliation, with its age.

use domain::reconciliation::DifferenceKind;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen};

/// A promise about the provider's records, and the kinds of difference that violate it.
struct Promise {
    invariant: &'static str,
    said: &'static str,
    kinds: &'static [DifferenceKind],
}

const PROMISES: &[Promise] = &[
    Promise {
        invariant: "I4",
        said: "what an order was paid with stands at the provider, by the last reconciliation",
        kinds: &[
            DifferenceKind::NotAtProvider,
            DifferenceKind::CapturedOnlyHere,
            DifferenceKind::CapturedOnlyThere,
            DifferenceKind::AmountsDiffer,
        ],
    },
    Promise {
        invariant: "I5",
        said: "one capture for an order, by the last reconciliation",
        kinds: &[DifferenceKind::ChargedTwice],
    },
    Promise {
        invariant: "I5",
        said: "the provider has no payment that the shop does not know, and none is left set \
                  aside, by the last reconciliation",
        kinds: &[
            DifferenceKind::NotInShop,
            DifferenceKind::AuthorisedAndLeft,
            DifferenceKind::Unreadable,
        ],
    },
    Promise {
        invariant: "I6",
        said: "the provider has given back what the shop says, by the last reconciliation",
        kinds: &[
            DifferenceKind::RefundedOnlyThere,
            DifferenceKind::RefundedOnlyHere,
            DifferenceKind::RefundFailedThere,
        ],
    },
    Promise {
        invariant: "I2",
        said: "payment clearing comes back to zero with each payout, by the last reconciliation",
        kinds: &[DifferenceKind::PayoutDiffers, DifferenceKind::SettledInAnotherCurrency],
    },
];

/// The age in hours after which a reconciliation is too old to count.
const OLD_AFTER_HOURS: i32 = 48;

const NONE: &str = "nobody has compared the shop with its provider: run `ordersaga reconcile`";
const OLD: &str = "the last comparison with the provider is old: run `ordersaga reconcile`";

/// A recent proof counts only its own orders' payments that were never compared.
pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        select run_id, payments,
            to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as "finished!",
            to_char(covers_from at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as "covers_from!",
            to_char(covers_to at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as "covers_to!",
            finished_at < now() - make_interval(hours => $1) as "is_old!",
            (
                select count(*) from payments.charges
                where captured > 0 and ($2::uuid[] is null or order_id = any ($2)) and not exists (
                    select from finance.runs as covering
                    where covering.state = 'finished'
                        and recorded_at >= covering.covers_from and recorded_at < covering.covers_to
                )
            ) as "uncovered!",
            (
                select count(*) from finance.differences
                where closed_at is null and settled_at is not null
            ) as "settled!"
        from finance.runs where state = 'finished'
        order by finished_at desc limit 1
        "#,
        OLD_AFTER_HOURS,
        scope.orders(),
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(last) = last else { return Ok(not_shown(NONE, None)) };
    let remark = format!(
        "run {} of {} UTC over {} to {}; {} payments that were taken are in no range that was ever \
         compared, {} differences were settled by a person",
        last.run_id, last.finished, last.covers_from, last.covers_to, last.uncovered, last.settled
    );
    if last.is_old {
        return Ok(not_shown(OLD, Some(&remark)));
    }
    let mut findings = Vec::new();
    for Promise { invariant, said, kinds } in PROMISES {
        let seen = open(db, last.payments, kinds).await?;
        let finding = Finding::of(invariant, said, "payments", seen);
        findings.push(finding.with_remark(Some(remark.clone())));
    }
    Ok(findings)
}

fn not_shown(why: &'static str, remark: Option<&String>) -> Vec<Finding> {
    let finding = |promise: &'static Promise| {
        let finding = Finding::not_shown(promise.invariant, promise.said, why);
        finding.with_remark(remark.cloned())
    };
    PROMISES.iter().map(finding).collect()
}

async fn open(
    db: &mut PgConnection,
    looked_at: i64,
    kinds: &[DifferenceKind],
) -> Result<Seen, sqlx::Error> {
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let complaints = sqlx::query_scalar!(
        r#"
        select format('%s: %s; the provider says %s %s, the shop %s %s', subject, kind,
            coalesce(at_provider::text, 'nothing'), at_provider_currency,
            coalesce(in_shop::text, 'nothing'), in_shop_currency) as "complaint!"
        from finance.differences
        where closed_at is null and settled_at is null and kind = any ($1)
        order by difference_id
        "#,
        &kinds,
    )
    .fetch_all(db)
    .await?;
    Ok(Seen::of(looked_at, complaints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_breaks_one_promise() {
        for kind in DifferenceKind::all() {
            let broken = PROMISES.iter().filter(|promise| promise.kinds.contains(&kind)).count();
            assert_eq!(broken, 1, "{kind:?}");
        }
    }
}
