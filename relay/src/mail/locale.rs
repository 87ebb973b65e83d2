//! How a locale writes amounts and times. The formats are in the locale's `formats.json`, which a
//! shop can edit like its templates.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use domain::Money;
use serde::Deserialize;

/// A locale's formats.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Formats {
    /// The decimal separator.
    decimal: String,
    /// The separator between groups of three digits.
    thousands: String,
    /// An amount: `{amount}` and `{currency}`.
    money: String,
    /// The months, January first.
    months: [String; 12],
    /// A day: `{day}`, `{month}` and `{year}`.
    date: String,
    /// A moment: `{date}`, `{hour}` and `{minute}`, in UTC.
    moment: String,
}

impl Formats {
    /// The amount, such as `1,234.50 GBP`.
    pub(super) fn money(&self, money: Money) -> String {
        let text = money.amount().to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let mut amount = grouped(whole, &self.thousands);
        if !decimals.is_empty() {
            amount.push_str(&self.decimal);
            amount.push_str(decimals);
        }
        let currency = money.currency().code();
        self.money.replace("{amount}", &amount).replace("{currency}", currency)
    }

    /// The day, such as `3 January 2026`.
    pub(super) fn date(&self, moment: DateTime<Utc>) -> String {
        let month = usize::try_from(moment.month0()).ok().and_then(|place| self.months.get(place));
        self.date
            .replace("{day}", &moment.day().to_string())
            .replace("{month}", month.map_or("", String::as_str))
            .replace("{year}", &moment.year().to_string())
    }

    /// The date and time, to the minute.
    pub(super) fn moment(&self, moment: DateTime<Utc>) -> String {
        self.moment
            .replace("{date}", &self.date(moment))
            .replace("{hour}", &format!("{:02}", moment.hour()))
            .replace("{minute}", &format!("{:02}", moment.minute()))
    }
}

/// Digits in groups of three, counted from the right.
fn grouped(digits: &str, between: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    let groups: Vec<String> = digits.rchunks(3).rev().map(|group| group.iter().collect()).collect();
    groups.join(between)
}

#[cfg(test)]
mod tests {
    use domain::Currency;

    use super::*;

    fn formats(text: &str) -> Formats {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_locale_writes_money_and_moments_in_its_own_way() {
        let english = formats(include_str!("../../templates/mail/en/formats.json"));
        let german = formats(include_str!("../../templates/mail/de/formats.json"));
        let money = |text: &str, currency| Money::new(text.parse().unwrap(), currency).unwrap();
        let pounds = money("1234567.5", Currency::GBP);
        assert_eq!(english.money(pounds), "1,234,567.50 GBP");
        assert_eq!(german.money(pounds), "1.234.567,50 GBP");
        assert_eq!(english.money(money("999", Currency::JPY)), "999 JPY");
        let moment = "2026-03-02T04:05:06Z".parse().unwrap();
        assert_eq!(english.date(moment), "2 March 2026");
        assert_eq!(german.moment(moment), "2. März 2026, 04:05 Uhr (UTC)");
    }
}
