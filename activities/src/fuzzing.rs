//! Entry points for fuzz targets: the decoders of parties' answers and of a bank's files. Compiled
//! only with `--cfg fuzzing`.

use std::time::{Duration, SystemTime};

use domain::bank::CreditorReference;
use domain::payment::PaymentState;
use domain::{Money, as_one_line};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fault::PAUSE_MAX;
use crate::party::answer::{Answer, BODY_MAX, Nonsense, Said, Unread, retry_after_of};
use crate::party::line::Refused;
use crate::payment::bank_transfer::camt::{self, Booking, Transfer};
use crate::{payment, shipping};

/// Decodes a party's answer as it came over the wire: the first line is its status, the second its
/// `Content-Type`, the third its `Retry-After` (empty: the header was not sent), and the rest its
/// body.
///
/// An accepted answer is within the size limit, survives a round trip, and is refused once it is
/// too long. A pause is never zero, and at most an hour.
pub fn answer(bytes: &[u8]) {
    let Some(answer) = answer_of(bytes) else { return };
    if let Some(header) = &answer.retry_after {
        let pause = retry_after_of(header, now());
        is_granted(pause);
        assert_eq!(retry_after_of(header.trim(), now()), pause);
    }
    if let Some(Ok(told)) =
        taken::<payment::sandbox::Told>(&answer).map(payment::sandbox::Told::payment)
    {
        assert!(!told.captured.amount().is_sign_negative() || told.captured.is_zero());
        assert!(told.expires_at.is_none() || told.state == PaymentState::Authorised);
    }
    if let Some(told) = taken::<shipping::sandbox::Told>(&answer) {
        let (state, consignment) = (told.state, told.consignment());
        assert_eq!(consignment.state, state);
    }
}

/// Decodes an answer of Stripe's, in the same form. What is read must be valid, and only single
/// words of it may appear in messages.
pub fn stripe_answer(bytes: &[u8]) {
    if let Some(answer) = answer_of(bytes) {
        payment::stripe::fuzzing::read(&answer, now());
    }
}

fn answer_of(bytes: &[u8]) -> Option<Answer> {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let status = line()?.parse().ok()?;
    let mut header = || Some(line()?.to_owned()).filter(|text| !text.is_empty());
    let (content_type, retry_after) = (header(), header());
    let body = lines.next().unwrap_or_default().to_vec();
    Some(Answer { status, content_type, retry_after, body })
}

/// 2026-11-01 12:00:00 UTC.
fn now() -> SystemTime {
    let since = Duration::from_secs(1_793_534_400);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What the party has done as requested, if the answer says so.
fn taken<T: DeserializeOwned + Serialize>(answer: &Answer) -> Option<T> {
    match answer.read::<T, Refused>(now()) {
        Ok(said) => {
            assert!(answer.body.len() <= BODY_MAX);
            assert_eq!(meaning(&said), again::<T>(answer.status, &said));
            is_read_up_to_the_limit::<T>(answer, &said);
            match said {
                Said::Yes(told) => Some(told),
                Said::No { .. } => None,
            }
        }
        Err(Unread::Unavailable { status, retry_after }) => {
            assert_eq!(status, answer.status);
            is_granted(retry_after);
            None
        }
        Err(Unread::Nonsense(_)) => None,
    }
}

fn is_granted(pause: Option<Duration>) {
    assert!(pause.is_none_or(|pause| !pause.is_zero() && pause <= PAUSE_MAX), "{pause:?}");
}

fn meaning<T: Serialize>(said: &Said<T, Refused>) -> Option<Value> {
    match said {
        Said::Yes(told) => serde_json::to_value(told).ok(),
        Said::No { why, .. } => serde_json::to_value(why).ok(),
    }
}

/// The same answer after a round trip through our own serialisation.
fn again<T: DeserializeOwned + Serialize>(status: u16, said: &Said<T, Refused>) -> Option<Value> {
    let written = match said {
        Said::Yes(told) => Answer::json(status, told),
        Said::No { why, .. } => Answer::json(status, why),
    };
    written.read::<T, Refused>(now()).ok().as_ref().and_then(meaning)
}

fn is_read_up_to_the_limit<T: DeserializeOwned + Serialize>(
    answer: &Answer,
    said: &Said<T, Refused>,
) {
    let mut longer = answer.clone();
    longer.body.resize(BODY_MAX, b' ');
    let longest = longer.read::<T, Refused>(now()).ok();
    assert_eq!(longest.as_ref().and_then(meaning), meaning(said));
    longer.body.push(b' ');
    let too_long = longer.read::<T, Refused>(now()).err();
    assert_eq!(too_long, Some(Unread::Nonsense(Nonsense::TooLarge)));
}

/// Decodes a bank's file. Accepted amounts are above zero, plausible and storable, the parts of a
/// sum add up to it, and the same file always gives the same result.
pub fn bank_file(bytes: &[u8]) {
    let Ok(statements) = camt::read(bytes) else { return };
    assert_eq!(camt::read(bytes).as_ref(), Ok(&statements));
    for statement in &statements {
        assert!(!statement.id.is_empty());
        for Booking { name, transfers } in &statement.bookings {
            assert_eq!(name.len(), 64);
            assert!(!transfers.is_empty());
            transfers.iter().for_each(can_be_taken_in);
            let currency = transfers.first().map(|first| first.amount.currency());
            let amounts = transfers.iter().map(|one| one.amount);
            assert!(currency.is_some_and(|currency| Money::sum(currency, amounts).is_ok()));
        }
    }
}

fn can_be_taken_in(transfer: &Transfer) {
    let Transfer { amount, told, .. } = transfer;
    assert!(!amount.is_zero() && amount.within_reason().is_ok());
    let texts = [told.payer_name.as_deref(), told.end_to_end.as_deref(), Some(&*told.remittance)];
    for text in texts.into_iter().flatten() {
        assert_eq!(as_one_line(text, 500), text);
    }
    for reference in &told.references {
        let found = CreditorReference::found_in(reference.as_str());
        assert_eq!(found.as_slice(), std::slice::from_ref(reference));
    }
}
