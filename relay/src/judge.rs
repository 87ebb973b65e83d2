//! Decides the fate of each message of a batch from the sink's verdicts. Pure, so that every case
//! can be tested without a database.

use std::collections::HashMap;
use std::time::Duration;

use crate::{Message, Verdict};

/// A message's role in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was given to the sink.
    Given,
    /// It was not given, because an earlier message of its order is parked.
    Behind,
    /// It was not given, because the receiver is only being probed.
    Later,
}

/// The result for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// The receiver is not interested in it.
    NotWanted,
    /// The receiver will never accept it: it waits for an operator, and its order's later messages
    /// wait behind it.
    Refused {
        /// Why.
        why: String,
    },
    /// The receiver has not accepted it.
    NotTaken {
        /// Why.
        why: String,
        /// When the receiver wants to be tried again.
        retry_after: Option<Duration>,
        /// The receiver has accepted others of the batch, so they need not wait for this one: it is
        /// parked, and its order's later messages behind it.
        is_alone: bool,
        /// The message may be the cause, so the attempt counts against it.
        is_strike: bool,
    },
    /// It is parked behind an earlier message of its order.
    Behind,
    /// No result yet: it is read again.
    Open,
}

impl Fate {
    /// Whether the sink is done with the message, so that reading continues after it.
    #[must_use]
    pub const fn is_had(&self) -> bool {
        match self {
            Self::Delivered | Self::NotWanted | Self::Refused { .. } | Self::Behind => true,
            Self::NotTaken { is_alone, .. } => *is_alone,
            Self::Open => false,
        }
    }
}

/// The receiver does not answer, or asks for a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub why: String,
    /// When it wants to be tried again.
    pub retry_after: Option<Duration>,
}

/// The results of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// One for each message.
    pub fates: Vec<Fate>,
    /// Set if the receiver needs a pause.
    pub outage: Option<Outage>,
    /// How the sink has violated its contract, which is a bug.
    pub breach: Option<&'static str>,
}

const WRONG_NUMBER: &str = "it gave another number of verdicts than it was given messages";
const WENT_ON: &str = "it went on with an order of which it had not delivered a message";
const NOT_TRIED: &str = "the sink has not tried";

/// Why no later message of an order is delivered in this batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// An earlier one is parked, and so is this one.
    Parked,
    /// An earlier one is still to be delivered.
    Open,
}

/// Decides the result for each message. `parts` has one entry for each of `messages`; the verdicts
/// are those on the messages that were given to the sink.
#[must_use]
pub fn judge(messages: &[Message], parts: &[Part], verdicts: Vec<Verdict>) -> Judged {
    let given = parts.iter().filter(|part| **part == Part::Given).count();
    let mut breach = (verdicts.len() != given).then_some(WRONG_NUMBER);
    // With the wrong number of verdicts, nobody knows which message each is about.
    let verdicts = if breach.is_some() { Vec::new() } else { verdicts };
    let others_were_taken = verdicts.contains(&Verdict::Delivered);
    let mut verdicts = verdicts.into_iter();
    let mut stops = HashMap::<&str, Stop>::new();
    let mut is_untried = false;
    let mut fates = Vec::with_capacity(messages.len());
    for (message, part) in messages.iter().zip(parts) {
        let order = message.aggregate_id.as_str();
        let fate = match part {
            Part::Behind => Fate::Behind,
            Part::Later => Fate::Open,
            Part::Given => {
                let verdict = verdicts.next().unwrap_or(Verdict::NotTried);
                let stop = stops.get(order).copied();
                if stop.is_some() && verdict != Verdict::NotTried {
                    breach = breach.or(Some(WENT_ON));
                }
                is_untried |= stop.is_none() && verdict == Verdict::NotTried;
                match stop {
                    Some(Stop::Parked) => Fate::Behind,
                    Some(Stop::Open) => Fate::Open,
                    None => fate_of(verdict, others_were_taken),
                }
            }
        };
        if let Some(stop) = stop_after(&fate) {
            stops.entry(order).or_insert(stop);
        }
        fates.push(fate);
    }
    let outage = outage_of(&fates, breach, is_untried);
    Judged { fates, outage, breach }
}

fn fate_of(verdict: Verdict, others_were_taken: bool) -> Fate {
    match verdict {
        Verdict::Delivered => Fate::Delivered,
        Verdict::NotWanted => Fate::NotWanted,
        Verdict::Refused { why } => Fate::Refused { why },
        Verdict::Unavailable { retry_after, why } => {
            Fate::NotTaken { why, retry_after, is_alone: others_were_taken, is_strike: false }
        }
        Verdict::NotTaken { why } => {
            let retry_after = None;
            Fate::NotTaken { why, retry_after, is_alone: others_were_taken, is_strike: true }
        }
        Verdict::NotTried => Fate::Open,
    }
}

const fn stop_after(fate: &Fate) -> Option<Stop> {
    match fate {
        Fate::Delivered | Fate::NotWanted => None,
        Fate::Refused { .. } | Fate::Behind => Some(Stop::Parked),
        Fate::NotTaken { is_alone, .. } => {
            if *is_alone {
                Some(Stop::Parked)
            } else {
                Some(Stop::Open)
            }
        }
        Fate::Open => Some(Stop::Open),
    }
}

/// The receiver gets a pause if it accepted nothing, if it asks for one, if the sink has stopped
/// trying, or if the sink has a bug: then everything waits, and is delivered once the bug is fixed.
fn outage_of(fates: &[Fate], breach: Option<&'static str>, is_untried: bool) -> Option<Outage> {
    let not_taken = fates.iter().filter_map(|fate| match fate {
        Fate::NotTaken { why, retry_after, is_alone, .. }
            if !is_alone || retry_after.is_some() || is_untried =>
        {
            Some((why, *retry_after))
        }
        Fate::NotTaken { .. }
        | Fate::Delivered
        | Fate::NotWanted
        | Fate::Refused { .. }
        | Fate::Behind
        | Fate::Open => None,
    });
    let not_taken = not_taken.collect::<Vec<_>>();
    if let Some((why, _)) = not_taken.first() {
        let retry_after = not_taken.iter().filter_map(|(_, retry_after)| *retry_after).max();
        return Some(Outage { why: (*why).clone(), retry_after });
    }
    let why = match breach {
        Some(WRONG_NUMBER) => Some(format!("the sink has a bug: {WRONG_NUMBER}")),
        Some(_) | None => is_untried.then(|| NOT_TRIED.to_owned()),
    };
    why.map(|why| Outage { why, retry_after: None })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// Messages of these orders in sequence; `aab` are two of `a` and one of `b`.
    fn of(orders: &str) -> Vec<Message> {
        let messages = orders.chars().zip(1_i64..).map(|(order, position)| Message {
            position,
            id: format!("{order}:{position}"),
            aggregate_type: "order".to_owned(),
            aggregate_id: order.to_string(),
            sequence: i32::try_from(position).unwrap(),
            event_type: "ordersaga.order.placed.v1".to_owned(),
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
        });
        messages.collect()
    }

    fn unavailable(seconds: Option<u64>) -> Verdict {
        let retry_after = seconds.map(Duration::from_secs);
        Verdict::Unavailable { retry_after, why: "away".to_owned() }
    }

    fn refused() -> Verdict {
        Verdict::Refused { why: "too large".to_owned() }
    }

    /// A letter for each fate: delivered, not wanted, refused, set aside, away, behind, open.
    fn fates(judged: &Judged) -> String {
        let letters = judged.fates.iter().map(|fate| match fate {
            Fate::Delivered => 'd',
            Fate::NotWanted => 'n',
            Fate::Refused { .. } => 'r',
            Fate::NotTaken { is_alone: true, .. } => 's',
            Fate::NotTaken { is_alone: false, .. } => 'a',
            Fate::Behind => 'b',
            Fate::Open => 'o',
        });
        letters.collect()
    }

    fn given(orders: &str, verdicts: Vec<Verdict>) -> Judged {
        let messages = of(orders);
        judge(&messages, &vec![Part::Given; messages.len()], verdicts)
    }

    #[test]
    fn a_refused_message_stops_its_order_and_no_other() {
        use Verdict::{Delivered, NotTried, NotWanted};
        let judged = given("aabab", vec![Delivered, refused(), NotWanted, NotTried, Delivered]);
        assert_eq!(fates(&judged), "drnbd");
        assert_eq!((judged.outage, judged.breach), (None, None));
    }

    #[test]
    fn a_message_that_alone_is_not_taken_is_set_aside_with_its_order() {
        use Verdict::{Delivered, NotTried};
        let judged = given("abab", vec![unavailable(None), Delivered, NotTried, Delivered]);
        assert_eq!(fates(&judged), "sdbd");
        assert_eq!((judged.outage, judged.breach), (None, None));
    }

    #[test]
    fn only_what_the_receiver_has_answered_counts_against_a_message() {
        let not_taken = Verdict::NotTaken { why: "it answered 500".to_owned() };
        let judged = given("abc", vec![not_taken, unavailable(None), Verdict::Delivered]);
        assert_eq!(fates(&judged), "ssd");
        let strikes = judged
            .fates
            .iter()
            .map(|fate| matches!(fate, Fate::NotTaken { is_strike: true, .. }))
            .collect::<Vec<_>>();
        assert_eq!(strikes, [true, false, false]);
    }

    #[test]
    fn a_receiver_that_takes_nothing_has_everything_wait() {
        use Verdict::NotTried;
        let judged = given("aba", vec![unavailable(None), unavailable(None), NotTried]);
        assert_eq!(fates(&judged), "aao");
        let away = Outage { why: "away".to_owned(), retry_after: None };
        assert_eq!((judged.outage, judged.breach), (Some(away), None));
    }

    #[test]
    fn a_receiver_that_asks_for_a_pause_gets_it_and_keeps_what_it_took() {
        let judged =
            given("abc", vec![Verdict::Delivered, unavailable(Some(3)), unavailable(Some(5))]);
        assert_eq!(fates(&judged), "dss");
        assert_eq!(judged.outage.unwrap().retry_after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_refused_before_a_receiver_goes_away_does_not_count_as_taken() {
        let judged = given("ab", vec![refused(), unavailable(None)]);
        assert_eq!(fates(&judged), "ra");
        assert!(judged.outage.is_some());
    }

    #[test]
    fn verdicts_of_the_wrong_number_say_nothing_and_are_a_bug() {
        for verdicts in [vec![], vec![Verdict::Delivered; 2], vec![Verdict::Delivered; 4]] {
            let judged = given("abc", verdicts);
            assert_eq!(fates(&judged), "ooo");
            assert_eq!(judged.breach, Some(WRONG_NUMBER));
            assert!(judged.outage.is_some_and(|outage| outage.why.contains("bug")));
        }
    }

    #[test]
    fn a_sink_that_goes_on_with_a_stopped_order_has_a_bug_and_the_order_keeps_its_order() {
        use Verdict::Delivered;
        let judged = given("aab", vec![refused(), Delivered, Delivered]);
        assert_eq!(fates(&judged), "rbd");
        assert_eq!((judged.outage, judged.breach), (None, Some(WENT_ON)));
    }

    #[test]
    fn what_a_sink_does_not_try_without_a_reason_is_read_again() {
        let judged = given("ab", vec![Verdict::Delivered, Verdict::NotTried]);
        assert_eq!(fates(&judged), "do");
        assert_eq!(judged.outage.unwrap().why, NOT_TRIED);
    }

    #[test]
    fn a_sink_that_stops_trying_waits_because_of_what_was_not_taken() {
        use Verdict::{Delivered, NotTried};
        let judged = given("abc", vec![Delivered, unavailable(None), NotTried]);
        assert_eq!(fates(&judged), "dso");
        assert_eq!(judged.outage.unwrap().why, "away");
    }

    #[test]
    fn what_was_not_given_waits_and_stops_its_order() {
        use Part::{Behind, Given, Later};
        let judged = judge(&of("abcb"), &[Given, Later, Behind, Later], vec![Verdict::Delivered]);
        assert_eq!(fates(&judged), "dobo");
        assert_eq!((judged.outage, judged.breach), (None, None));
    }
}
