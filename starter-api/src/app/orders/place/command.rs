//! The command to place an order, unchecked and checked.

use domain::screening::Network;
use domain::{
    AddressId, CountryCode, Currency, CustomerId, Fingerprint, Money, PaymentToken, written_amount,
};
use serde_json::{Value, json};

use crate::app::basket::{Basket, BasketInput};
use crate::app::input::{WholeNumber, line_of_text};
use crate::app::orders::{
    CANCEL_WINDOW_SECONDS_MAX, PATIENCE_SECONDS_MAX, PAYMENT_RETRY_SECONDS_MAX,
};
use crate::error::{Problem, Rules};
use crate::identity::Caller;

/// An unchecked order, independent of the protocol.
#[derive(Clone, Debug)]
pub(crate) struct OrderInput<'a> {
    /// The customer. Customers may omit it.
    pub(crate) customer_id: Option<&'a str>,
    /// The basket, and the destination country.
    pub(crate) basket: BasketInput<'a>,
    pub(crate) address: AddressInput<'a>,
    pub(crate) payment_token: &'a str,
    pub(crate) expected_total: Option<MoneyInput<'a>>,
    pub(crate) cancel_window_seconds: Option<WholeNumber>,
    pub(crate) patience_seconds: Option<WholeNumber>,
    pub(crate) payment_retry_seconds: Option<WholeNumber>,
    /// The customer's IP address, as the shop's backend reports it.
    pub(crate) customer_ip: Option<&'a str>,
}

/// The recipient and the address within the country.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressInput<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) line1: Option<&'a str>,
    pub(crate) line2: Option<&'a str>,
    pub(crate) city: Option<&'a str>,
    pub(crate) postal_code: Option<&'a str>,
}

/// An unchecked amount of money.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoneyInput<'a> {
    pub(crate) amount: &'a str,
    pub(crate) currency: &'a str,
}

/// An order that meets every rule that does not need the catalogue; not priced yet.
#[derive(Clone, Debug)]
pub(crate) struct PlaceOrder {
    pub(crate) customer_id: CustomerId,
    pub(crate) basket: Basket,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) payment_token: PaymentToken,
    pub(crate) expected_total: Option<Money>,
    pub(crate) cancel_window_seconds: Option<u32>,
    pub(crate) patience_seconds: Option<u32>,
    pub(crate) payment_retry_seconds: Option<u32>,
    /// The customer's network. Excluded from the fingerprint: a repeat may come from another
    /// network.
    pub(crate) network: Option<Network>,
}

/// The recipient and their address. Stored in the database only: histories and events contain its
/// id instead.
#[derive(Clone, Debug)]
pub(crate) struct Recipient {
    pub(crate) address_id: AddressId,
    pub(crate) name: String,
    pub(crate) line1: String,
    pub(crate) line2: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) postal_code: Option<String>,
}

impl PlaceOrder {
    /// Checks everything that does not need the catalogue.
    ///
    /// **Errors.** 422 with every broken rule. The pointers are those of the JSON request.
    pub(crate) fn check(caller: &Caller, input: &OrderInput<'_>) -> Result<Self, Problem> {
        let mut rules = Rules::default();
        let order = Self::check_each(&mut rules, caller, input);
        rules.kept(order)
    }

    fn check_each(rules: &mut Rules, caller: &Caller, input: &OrderInput<'_>) -> Option<Self> {
        let customer_id = rules.check("/customer_id", customer(caller, input.customer_id));
        let basket = Basket::check(rules, &input.basket);
        let recipient =
            Recipient::check(rules, customer_id.as_ref(), input.basket.country, &input.address);
        let payment_token = rules.check("/payment_token", PaymentToken::parse(input.payment_token));
        let expected_total =
            input.expected_total.as_ref().and_then(|it| money(rules, "/expected_total", it));
        let cancel_window = input.cancel_window_seconds;
        let cancel_window =
            cancel_window.map(|window| window.seconds(0, CANCEL_WINDOW_SECONDS_MAX));
        let cancel_window_seconds = rules.check_given("/cancel_window_seconds", cancel_window);
        let patience = input.patience_seconds;
        let patience = patience.map(|patience| patience.seconds(1, PATIENCE_SECONDS_MAX));
        let patience_seconds = rules.check_given("/patience_seconds", patience);
        let retry = input.payment_retry_seconds;
        let retry = retry.map(|retry| retry.seconds(0, PAYMENT_RETRY_SECONDS_MAX));
        let payment_retry_seconds = rules.check_given("/payment_retry_seconds", retry);
        let network = input.customer_ip.map(|address| network(caller, address));
        let network = rules.check_given("/customer_ip", network);
        Some(Self {
            customer_id: customer_id?,
            basket: basket?,
            recipient,
            payment_token: payment_token?,
            expected_total,
            cancel_window_seconds,
            patience_seconds,
            payment_retry_seconds,
            network,
        })
    }

    /// The fingerprint of the request, version 1: it distinguishes a repeat from a different
    /// request under the same key.
    ///
    /// The names and their order must never change. Append later fields at the end, with `given`,
    /// so that requests without them keep their fingerprint.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let Self { customer_id, basket, payment_token, .. } = self;
        let v1 =
            Fingerprint::v1().field("customer_id", customer_id).field("lines", basket.lines.len());
        let v1 = basket.lines.iter().fold(v1, |v1, line| {
            v1.field("sku", &line.sku).field("quantity", line.quantity.pieces())
        });
        let to = self.recipient.as_ref();
        v1.field("country", basket.country)
            .given("discount_code", basket.discount_code.as_ref())
            .given("address_id", to.map(|to| to.address_id))
            .given("name", to.map(|to| &to.name))
            .given("line1", to.map(|to| &to.line1))
            .given("line2", to.and_then(|to| to.line2.as_ref()))
            .given("city", to.and_then(|to| to.city.as_ref()))
            .given("postal_code", to.and_then(|to| to.postal_code.as_ref()))
            .field("payment_token", payment_token)
            .given("expected_total", self.expected_total.map(Money::amount))
            .given("expected_currency", self.expected_total.map(|total| total.currency().code()))
            .given("cancel_window_seconds", self.cancel_window_seconds)
            .given("patience_seconds", self.patience_seconds)
            .given("payment_retry_seconds", self.payment_retry_seconds)
            .finish()
    }
}

/// The network of an IP address reported by the shop's backend.
fn network(caller: &Caller, address: &str) -> Result<Network, &'static str> {
    if caller.customer().is_some() {
        return Err("a customer does not say where they are: leave this out");
    }
    let address = address.parse().map_err(|_error| "an IPv4 or IPv6 address")?;
    Ok(Network::of(address))
}

/// Determines the customer of the order.
fn customer(caller: &Caller, named: Option<&str>) -> Result<CustomerId, String> {
    let named = named.map(CustomerId::parse).transpose().map_err(|error| error.to_string())?;
    match (caller.customer(), named) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(named)) if *own != named => {
            Err("a customer orders for themself only: leave this out".to_owned())
        }
        (_, Some(named)) => Ok(named),
        (None, None) => Err("required, because the token is not that of a customer".to_owned()),
    }
}

impl Recipient {
    /// The address as JSON, in the form that `orders.place` reads.
    pub(crate) fn to_json(&self) -> Value {
        let Self { name, line1, line2, city, postal_code, .. } = self;
        // Both columns were created when every country was assumed to have them, and are not
        // nullable.
        let (city, postal_code) = (city.as_deref(), postal_code.as_deref());
        json!({
            "name": name, "line1": line1, "line2": line2,
            "city": city.unwrap_or_default(), "postal_code": postal_code.unwrap_or_default(),
        })
    }

    /// Checks the address, if one was given. It has to be complete.
    fn check(
        rules: &mut Rules,
        customer_id: Option<&CustomerId>,
        country: &str,
        address: &AddressInput<'_>,
    ) -> Option<Self> {
        let AddressInput { name, line1, line2, city, postal_code } = *address;
        let known = CountryCode::parse(country).ok();
        if [name, line1, line2, city, postal_code].iter().all(Option::is_none) {
            return None;
        }
        let mut required = |pointer: &str, field: Option<&str>, length_max| {
            rules.check(pointer, line_of_text(field.unwrap_or_default(), length_max))
        };
        let name = required("/ship_to/name", name, 200);
        let line1 = required("/ship_to/line1", line1, 200);
        // Not every country has city names or postal codes.
        let mut wanted = |pointer: &str, field: Option<&str>, length_max, is_needed: bool| {
            let field = field.filter(|text| is_needed || !text.trim().is_empty());
            let line = field.or_else(|| is_needed.then_some(""));
            let line = line.map(|text| line_of_text(text, length_max)).transpose();
            rules.check(pointer, line)
        };
        let is_needed = |needs: fn(CountryCode) -> bool| known.is_none_or(needs);
        let has_towns = is_needed(CountryCode::needs_city);
        let city = wanted("/ship_to/city", city, 100, has_towns);
        let has_codes = is_needed(CountryCode::needs_postal_code);
        let line2 = wanted("/ship_to/line2", line2, 200, false);
        let postal_code = wanted("/ship_to/postal_code", postal_code, 20, has_codes);
        let postal_code =
            postal_code.and_then(|code| rules.check("/ship_to/postal_code", of_codes(code)));
        let (name, line1, line2, city, postal_code) = (name?, line1?, line2?, city?, postal_code?);
        let text = |line: &Option<String>| line.clone().unwrap_or_default();
        let whole =
            [&name, &line1, &text(&line2), &text(&city), &text(&postal_code), country].join("\n");
        let address_id = AddressId::for_address(customer_id?, &whole);
        Some(Self { address_id, name, line1, line2, city, postal_code })
    }
}

/// Checks the characters of a postal code. The exact format differs by country, and the carrier
/// checks it.
fn of_codes(code: Option<String>) -> Result<Option<String>, &'static str> {
    let fits = code.as_deref().is_none_or(|code| {
        code.contains(char::is_alphanumeric)
            && code.chars().all(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '.'))
    });
    fits.then_some(code).ok_or("letters and digits, with spaces, `-` or `.` between")
}

/// Parses an amount at this pointer in the request.
pub(crate) fn money(rules: &mut Rules, at: &str, written: &MoneyInput<'_>) -> Option<Money> {
    let amount = rules.check(
        format_args!("{at}/amount"),
        written_amount(written.amount)
            .ok_or("an amount is a decimal number as text, such as \"19.99\""),
    );
    let currency = rules.check(
        format_args!("{at}/currency"),
        Currency::from_code(written.currency)
            .ok_or("a currency is a code of ISO 4217, such as GBP"),
    );
    rules.check(format_args!("{at}/amount"), Money::new(amount?, currency?))
}

#[cfg(test)]
mod tests {
    use domain::{DiscountCode, Quantity, Sku};
    use rust_decimal::Decimal;
    use uuid::Uuid;

    use super::*;
    use crate::app::basket::Line;

    fn request() -> PlaceOrder {
        let line = |sku, pieces| Line {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(pieces).unwrap(),
        };
        PlaceOrder {
            customer_id: CustomerId::parse("17850").unwrap(),
            basket: Basket {
                lines: vec![line("85123A", 6), line("71053", 1)],
                country: CountryCode::parse("GB").unwrap(),
                discount_code: None,
            },
            recipient: None,
            payment_token: PaymentToken::parse("tok_visa").unwrap(),
            expected_total: None,
            cancel_window_seconds: None,
            patience_seconds: None,
            payment_retry_seconds: None,
            network: None,
        }
    }

    fn full_request() -> PlaceOrder {
        PlaceOrder {
            basket: Basket {
                discount_code: Some(DiscountCode::parse("WELCOME10").unwrap()),
                ..request().basket
            },
            recipient: Some(Recipient {
                address_id: AddressId::of(Uuid::from_u128(7)),
                name: "Ada Lovelace".to_owned(),
                line1: "1 High St".to_owned(),
                line2: Some("c/o Babbage".to_owned()),
                city: Some("London".to_owned()),
                postal_code: Some("N1".to_owned()),
            }),
            expected_total: Some(Money::new(Decimal::new(2310, 2), Currency::GBP).unwrap()),
            cancel_window_seconds: Some(60),
            patience_seconds: Some(30),
            ..request()
        }
    }

    /// These values are stored in databases. If one changes, repeats of earlier requests are
    /// refused.
    #[test]
    fn fingerprints_of_version_1_never_change() {
        // Computed by sha256sum over each name and value in turn, each as its length, a colon and
        // its text.
        assert_eq!(
            request().fingerprint().as_str(),
            "v1:7cca64045533885b925e0737ad442b3ebaf6c0147526e3aee2620e800e023114"
        );
        assert_eq!(
            full_request().fingerprint().as_str(),
            "v1:a061bf06b8373a50e3f17a033561b1a7bda1cc282df0b0f145307e3649209b30"
        );
        let mut some = full_request();
        some.basket.discount_code = None;
        some.expected_total = None;
        some.patience_seconds = None;
        some.cancel_window_seconds = Some(0);
        if let Some(recipient) = &mut some.recipient {
            recipient.line2 = None;
        }
        // An omitted field does not change the fingerprint; zero is different from omitted.
        assert_eq!(
            some.fingerprint().as_str(),
            "v1:b84a5eea532e1c2928d392bc0d6b25a728654b8e048f31f8d593c272330c2c8e"
        );
    }

    #[test]
    fn a_postal_code_has_the_characters_of_one() {
        let taken = |code: &str| of_codes(Some(code.to_owned())).is_ok();
        for code in ["SW1Y 4JH", "01.310-100", "KY1-1001", "D02 X285", "150-0002", "\u{6f1}\u{6f2}"]
        {
            assert!(taken(code), "{code}");
        }
        for wrong in ["-", "...", "N1; N2", "<b>", "N/A", "ada@example.org"] {
            assert!(!taken(wrong), "{wrong}");
        }
        assert_eq!(of_codes(None), Ok(None));
    }

    #[test]
    fn a_repeat_may_come_from_another_network() {
        let elsewhere = PlaceOrder { network: Network::parse("203.0.113.7"), ..full_request() };
        assert!(elsewhere.network.is_some());
        assert_eq!(elsewhere.fingerprint(), full_request().fingerprint());
    }

    /// A change of one part of a request.
    type Change = fn(&mut PlaceOrder);

    #[test]
    fn whatever_the_order_means_is_in_its_fingerprint() {
        let changes: [Change; 8] = [
            |order| order.payment_retry_seconds = Some(0),
            |order| order.customer_id = CustomerId::parse("17851").unwrap(),
            |order| order.basket.lines.reverse(),
            |order| order.basket.country = CountryCode::parse("DE").unwrap(),
            |order| order.payment_token = PaymentToken::parse("tok_mastercard").unwrap(),
            |order| order.cancel_window_seconds = Some(61),
            |order| order.patience_seconds = None,
            |order| order.recipient.as_mut().unwrap().city = Some("Leeds".to_owned()),
        ];
        for apply in changes {
            let mut other = full_request();
            apply(&mut other);
            assert_ne!(other.fingerprint(), full_request().fingerprint(), "{other:?}");
        }
    }
}
