//! Names, amounts of money and settings: short texts that users and operators write.

use domain::event::EventType;
use domain::ledger::Account;
use domain::{
    CountryCode, Currency, CustomerId, Decision, DiscountCode, Money, OrderId, Party, PaymentToken,
    Quantity, Sku, StepKey, StepName, minor_digits, written_amount,
};
use rust_decimal::Decimal;
use workflows::Queue;

/// A name of anything. What is taken is shown as it was given, within its length; what stands for
/// one of several things is written by one name only.
pub(crate) fn name(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    given_back(text, 64, CustomerId::parse(text).as_ref().map(CustomerId::as_str).ok());
    given_back(text, 32, Sku::parse(text).as_ref().map(Sku::as_str).ok());
    given_back(text, 32, DiscountCode::parse(text).as_ref().map(DiscountCode::as_str).ok());
    let token = PaymentToken::parse(text);
    given_back(text, 128, token.as_ref().map(PaymentToken::as_str).ok());
    if let Ok(token) = &token {
        let mut runs = token.as_str().split(|it: char| it.is_ascii_alphabetic());
        let is_long = |run: &str| run.bytes().filter(u8::is_ascii_digit).count() >= 12;
        assert!(!runs.any(is_long), "a card's number");
    }
    given_back(
        text,
        2,
        CountryCode::parse(text).map(|country| country.to_string()).ok().as_deref(),
    );
    given_back(text, 3, Currency::from_code(text).as_ref().map(Currency::code));
    given_back(text, 64, text.parse::<StepName>().map(StepName::name).ok());
    given_back(text, 64, text.parse::<Decision>().map(Decision::name).ok());
    given_back(text, 64, text.parse::<EventType>().map(EventType::name).ok());
    given_back(text, 64, text.parse::<Party>().map(Party::name).ok());
    given_back(text, 64, text.parse::<Queue>().map(Queue::name).ok());
    given_back(text, 64, Account::by_id(text).map(Account::as_str));
    if let Ok(key) = text.parse::<StepKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!(key.attempt >= 1);
    }
    if let Some(order_id) = OrderId::of_workflow(text) {
        assert_eq!(OrderId::of_workflow(&order_id.workflow_id()), Some(order_id));
    }
}

fn given_back(given: &str, length_max: usize, shown: Option<&str>) {
    if let Some(shown) = shown {
        assert_eq!(shown, given);
        assert!((1..=length_max).contains(&shown.len()));
    }
}

/// An amount, a currency, a quantity and a share in per cent, with spaces between.
///
/// What is taken is exact: it is the number that was written, it is read back from JSON and from
/// its own text, and whatever is calculated from it is right or refused.
pub(crate) fn amount(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (Some(number), Some(currency)) = (written_amount(word()), Currency::from_code(word()))
    else {
        return;
    };
    let (pieces, percent) = (word().parse::<i64>().ok(), written_amount(word()));
    let Ok(money) = Money::new(number, currency) else { return };
    assert_eq!(money.amount(), number);
    assert!(money.amount() >= Decimal::ZERO);
    assert!(minor_digits(currency).is_ok_and(|most| money.amount().normalize().scale() <= most));
    let shown = money.amount().to_string();
    assert_eq!(written_amount(&shown), Some(number));
    let json = serde_json::to_string(&money).ok();
    let again = json.and_then(|json| serde_json::from_str::<Money>(&json).ok());
    assert_eq!(again, Some(money));
    if money.within_reason().is_ok() {
        assert!(number <= Decimal::from(Money::REASON));
        // Any line of an order can be priced, and checked.
        if let Some(Ok(quantity)) = pieces.map(Quantity::new) {
            multiplied(money, quantity.pieces());
        }
    }
    let share = percent.filter(|it| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(it));
    if let Some(Ok(share)) = share.map(|percent| money.percent(percent)) {
        assert!(money.checked_sub(share).is_ok(), "a share is more than the whole");
    }
}

fn multiplied(money: Money, pieces: u32) {
    let (all, but_one) = (money.times(pieces), money.times(pieces.saturating_sub(1)));
    assert!(all.is_ok());
    assert_eq!(but_one.and_then(|but_one| but_one.checked_add(money)), all);
}

/// A setting of a program: a database's URL, a client or an issuer. A URL that is refused is not
/// repeated, because it may hold a password.
pub(crate) fn setting(text: &[u8]) {
    starter_api::fuzzing::setting(text);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Err(refused) = runtime::database::parse_url(text) {
        assert_eq!(refused.to_string(), runtime::database::BadUrl.to_string());
    }
}
