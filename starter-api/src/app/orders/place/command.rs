//! The command to place an order: what a caller wrote, and what is left when it was checked.

use domain::{AddressId, Currency, CustomerId, Money, PaymentToken, RequestHash};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::app::basket::{Basket, BasketInput};
use crate::app::input::{WholeNumber, line_of_text};
use crate::app::orders::{CANCEL_WINDOW_SECONDS_MAX, PATIENCE_SECONDS_MAX};
use crate::error::{Problem, Rules};
use crate::identity::Caller;

/// An order as a caller wrote it, whatever the protocol.
#[derive(Clone, Debug)]
pub(crate) struct OrderInput<'a> {
    /// Who orders. A customer may leave it out.
    pub(crate) customer_id: Option<&'a str>,
    /// What is ordered, and the country it goes to.
    pub(crate) basket: BasketInput<'a>,
    pub(crate) address: AddressInput<'a>,
    pub(crate) payment_token: &'a str,
    pub(crate) expected_total: Option<MoneyInput<'a>>,
    pub(crate) cancel_window_seconds: Option<WholeNumber>,
    pub(crate) patience_seconds: Option<WholeNumber>,
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

/// Money, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoneyInput<'a> {
    pub(crate) amount: &'a str,
    pub(crate) currency: &'a str,
}

/// An order that meets every rule that can be checked without the catalogue; not priced yet.
///
/// Its JSON is the canonical form of the request: the same order is the same bytes, however it was
/// written.
#[derive(Debug, Serialize)]
pub(crate) struct PlaceOrder {
    pub(crate) customer_id: CustomerId,
    pub(crate) basket: Basket,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) payment_token: PaymentToken,
    pub(crate) expected_total: Option<Money>,
    pub(crate) cancel_window_seconds: Option<u32>,
    pub(crate) patience_seconds: Option<u32>,
}

/// The recipient and their address. Stored in the database only: histories and events refer to it
/// by its id.
#[derive(Debug, Serialize)]
pub(crate) struct Recipient {
    pub(crate) address_id: AddressId,
    pub(crate) name: String,
    pub(crate) line1: String,
    pub(crate) line2: Option<String>,
    pub(crate) city: String,
    pub(crate) postal_code: String,
}

impl PlaceOrder {
    /// Checks everything that can be checked without the catalogue.
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
            input.expected_total.as_ref().and_then(|total| expected_total(rules, total));
        let cancel_window = input.cancel_window_seconds;
        let cancel_window =
            cancel_window.map(|window| window.seconds(0, CANCEL_WINDOW_SECONDS_MAX));
        let cancel_window_seconds = rules.check_given("/cancel_window_seconds", cancel_window);
        let patience = input.patience_seconds;
        let patience = patience.map(|patience| patience.seconds(1, PATIENCE_SECONDS_MAX));
        let patience_seconds = rules.check_given("/patience_seconds", patience);
        Some(Self {
            customer_id: customer_id?,
            basket: basket?,
            recipient,
            payment_token: payment_token?,
            expected_total,
            cancel_window_seconds,
            patience_seconds,
        })
    }

    /// The fingerprint that tells a repeat of this request from another request under the same
    /// key.
    pub(crate) fn hash(&self) -> Result<RequestHash, Problem> {
        let canonical = serde_json::to_vec(self)
            .map_err(|error| Problem::internal("hashing a request", &error))?;
        Ok(RequestHash::of(&canonical))
    }
}

/// Who the order is for.
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
    /// The address, if one was given. It has to be complete then.
    fn check(
        rules: &mut Rules,
        customer_id: Option<&CustomerId>,
        country: &str,
        address: &AddressInput<'_>,
    ) -> Option<Self> {
        let AddressInput { name, line1, line2, city, postal_code } = *address;
        if [name, line1, line2, city, postal_code].iter().all(Option::is_none) {
            return None;
        }
        let mut required = |pointer: &str, field: Option<&str>, length_max| {
            rules.check(pointer, line_of_text(field.unwrap_or_default(), length_max))
        };
        let name = required("/ship_to/name", name, 200);
        let line1 = required("/ship_to/line1", line1, 200);
        let city = required("/ship_to/city", city, 100);
        let postal_code = required("/ship_to/postal_code", postal_code, 20);
        let line2 = line2.map(|text| line_of_text(text, 200));
        let line2 = rules.check_given("/ship_to/line2", line2);
        let (name, line1, city, postal_code) = (name?, line1?, city?, postal_code?);
        let whole = [
            name.as_str(),
            line1.as_str(),
            line2.as_deref().unwrap_or_default(),
            city.as_str(),
            postal_code.as_str(),
            country,
        ];
        let address_id = AddressId::for_address(customer_id?, &whole.join("\n"));
        Some(Self { address_id, name, line1, line2, city, postal_code })
    }
}

fn expected_total(rules: &mut Rules, total: &MoneyInput<'_>) -> Option<Money> {
    let amount = rules.check(
        "/expected_total/amount",
        Decimal::from_str_exact(total.amount)
            .map_err(|_no_decimal| "an amount is a decimal number as text, such as \"19.99\""),
    );
    let currency = rules.check(
        "/expected_total/currency",
        Currency::from_code(total.currency).ok_or("a currency is a code of ISO 4217, such as GBP"),
    );
    rules.check("/expected_total/amount", Money::new(amount?, currency?))
}
