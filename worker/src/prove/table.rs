//! Formats findings as text.

use super::{Finding, Verdict};

/// The column where a promise begins, after its invariant and verdict; also the indentation of its
/// continuation lines on a narrow terminal.
pub const PROMISE_COLUMN: usize = 13;

/// What a recent proof has checked, as a sentence without a full stop.
#[must_use]
pub fn checked(orders: usize, hours: u16) -> String {
    let orders = grouped(u64::try_from(orders).unwrap_or(u64::MAX));
    let time = match hours {
        1 => "hour".to_owned(),
        hours => format!("{hours} hours"),
    };
    let changed = format!("those that changed in the last {time}");
    format!("checks {orders} orders: {changed}, and those that have not ended")
}

/// One line per promise, with its verdict first, and examples below a violated one.
///
/// **Shape.** `I1   holds   debits = credits in each transaction and currency (17,754 transactions)`.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let Finding { invariant, promise, verdict, remark, .. } = finding;
        let mut details = details(finding);
        details.extend(remark.clone());
        let details = details.join("; ");
        lines.push(format!("{invariant:<4} {:<7} {promise} ({details})", word(verdict)));
        if let Verdict::Broken { times, examples } = verdict {
            lines.extend(examples.iter().map(|example| format!("       - {example}")));
            let shown = u64::try_from(examples.len()).unwrap_or(u64::MAX);
            let more = times.saturating_sub(shown);
            if more > 0 {
                lines.push(format!("       - and {} more", grouped(more)));
            }
        }
    }
    lines.join("\n")
}

/// The verdict, padded to the column's width.
const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Nothing => "-",
        Verdict::Broken { .. } => "BROKEN",
        Verdict::NotShown(_) => "?",
    }
}

/// The text after the promise: how many things were checked, and remarks.
fn details(finding: &Finding) -> Vec<String> {
    let looked_at = || format!("{} {}", grouped(finding.looked_at), finding.things);
    match &finding.verdict {
        Verdict::Holds => vec![looked_at()],
        Verdict::Nothing => vec!["nothing to look at".to_owned()],
        Verdict::Broken { times, .. } => {
            vec![looked_at(), format!("broken {} times", grouped(*times))]
        }
        Verdict::NotShown(why) => vec![format!("not shown: {why}")],
    }
}

/// Formats 17754 as 17,754.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn finding(promise: &'static str, looked_at: u64, verdict: Verdict) -> Finding {
        Finding { invariant: "I1", promise, things: "orders", looked_at, verdict, remark: None }
    }

    #[test]
    fn a_recent_proof_says_what_it_checks() {
        let rest = "and those that have not ended";
        let said = format!("checks 1,207 orders: those that changed in the last 24 hours, {rest}");
        assert_eq!(checked(1_207, 24), said);
        let said = format!("checks 0 orders: those that changed in the last hour, {rest}");
        assert_eq!(checked(0, 1), said);
    }

    #[test]
    fn a_table_shows_what_was_looked_at_and_what_breaks_it() {
        let broken = Verdict::Broken { times: 1_207, examples: vec!["order 1".to_owned()] };
        let findings = [
            finding("holds", 17_754, Verdict::Holds),
            finding("is broken", 1_000_000, broken),
            finding("was not looked at", 0, Verdict::Nothing),
            finding("cannot be looked at", 0, Verdict::NotShown("it is elsewhere")),
        ];
        expect![[r"
            I1   holds   holds (17,754 orders)
            I1   BROKEN  is broken (1,000,000 orders; broken 1,207 times)
                   - order 1
                   - and 1,206 more
            I1   -       was not looked at (nothing to look at)
            I1   ?       cannot be looked at (not shown: it is elsewhere)"]]
        .assert_eq(&table(&findings));
    }
}
