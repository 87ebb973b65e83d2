//! The findings as a person reads them.

use super::{Finding, Verdict};

/// One line a promise, and beneath a broken one the examples.
///
/// **Shape.** `I1   debits = credits …    17,754 transactions    holds`.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let looked_at: Vec<_> = findings.iter().map(looked_at).collect();
    let promise_width = widest(findings.iter().map(|finding| finding.promise));
    let looked_at_width = widest(looked_at.iter().map(String::as_str));
    let mut lines = Vec::new();
    for (finding, looked_at) in findings.iter().zip(&looked_at) {
        let Finding { invariant, promise, verdict, remark, .. } = finding;
        let remark = remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
        lines.push(format!(
            "{invariant:<4} {promise:<promise_width$}  {looked_at:>looked_at_width$}  {}{remark}",
            word(verdict),
        ));
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

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Holds => "holds".to_owned(),
        Verdict::Nothing => "nothing to look at".to_owned(),
        Verdict::Broken { times, .. } => format!("BROKEN {} times", grouped(*times)),
        Verdict::NotShown(why) => format!("not shown: {why}"),
    }
}

fn looked_at(finding: &Finding) -> String {
    match finding.verdict {
        Verdict::NotShown(_) => String::new(),
        Verdict::Holds | Verdict::Nothing | Verdict::Broken { .. } => {
            format!("{} {}", grouped(finding.looked_at), finding.things)
        }
    }
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or_default()
}

/// 17754 as 17,754.
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
    fn a_table_shows_what_was_looked_at_and_what_breaks_it() {
        let broken = Verdict::Broken { times: 1_207, examples: vec!["order 1".to_owned()] };
        let findings = [
            finding("holds", 17_754, Verdict::Holds),
            finding("is broken", 1_000_000, broken),
            finding("was not looked at", 0, Verdict::Nothing),
            finding("cannot be looked at", 0, Verdict::NotShown("it is elsewhere")),
        ];
        expect![[r"
            I1   holds                   17,754 orders  holds
            I1   is broken            1,000,000 orders  BROKEN 1,207 times
                   - order 1
                   - and 1,206 more
            I1   was not looked at            0 orders  nothing to look at
            I1   cannot be looked at                    not shown: it is elsewhere"]]
        .assert_eq(&table(&findings));
    }
}
