//! What a shop's backend sends to order something: as it is written, and as it is checked.

use domain::{AddressId, Currency, CustomerId, Money, PaymentToken, RequestHash};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::basket::{Basket, WrittenLine};
use crate::identity::access::Caller;
use crate::orders::{CANCEL_WINDOW_SECONDS_MAX, PATIENCE_SECONDS_MAX};
use crate::problem::{OrProblem, Problem};
use crate::rules::{Rules, line_of_text, seconds};
use crate::state::State;

/// An order as the shop's backend writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderRequest)]
pub(crate) struct WrittenOrder {
    /// Who orders, in the shop's own numbering. A customer may leave it out: it is themself.
    #[schema(min_length = 1, max_length = 64, example = "17850")]
    pub customer_id: Option<String>,
    /// Articles and quantities; the prices are the shop's.
    #[schema(min_items = 1, max_items = 1_000)]
    pub lines: Vec<WrittenLine>,
    /// Where it goes.
    pub ship_to: WrittenDestination,
    /// The payment provider's stand-in for the card. Never a card number.
    #[schema(min_length = 5, max_length = 128, example = "tok_visa")]
    pub payment_token: String,
    /// What the customer typed to get a discount.
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    pub discount_code: Option<String>,
    /// What the customer was shown. If the order costs something else, it is not taken in.
    pub expected_total: Option<WrittenMoney>,
    /// How long the order can be called off before it is packed.
    #[schema(value_type = Option<u32>, maximum = 2_592_000, example = 0)]
    pub cancel_window_seconds: Option<Number>,
    /// How long the order waits for a party that does not answer before it is unwound.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800)]
    pub patience_seconds: Option<Number>,
}

/// Where the parcel goes. The country alone will do for trying things out; with any other field,
/// name, line1, city and `postal_code` are all needed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShipTo)]
pub(crate) struct WrittenDestination {
    /// The country, as ISO 3166-1 alpha-2 has it. Decides tax and shipping fee.
    #[schema(min_length = 2, max_length = 2, example = "GB")]
    pub country: String,
    /// The recipient.
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// Street and house.
    #[schema(max_length = 200)]
    pub line1: Option<String>,
    /// What more the carrier needs.
    #[schema(max_length = 200)]
    pub line2: Option<String>,
    /// The town.
    #[schema(max_length = 100)]
    pub city: Option<String>,
    /// The postal code.
    #[schema(max_length = 20)]
    pub postal_code: Option<String>,
}

/// Money as it is written, before it is checked. The amount is text, because a JSON number would
/// pass through floating point on its way.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MoneyRequest)]
pub(crate) struct WrittenMoney {
    /// In major units, with no more decimals than the currency has.
    #[schema(example = "19.99")]
    pub amount: String,
    /// ISO 4217.
    #[schema(example = "GBP")]
    pub currency: String,
}

/// An order as it was asked for, checked, before it is priced. Its JSON is the canonical
/// request: the same wishes are the same bytes, however they were written.
#[derive(Debug, Serialize)]
pub(crate) struct OrderRequest {
    pub(crate) customer_id: CustomerId,
    pub(crate) basket: Basket,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) payment_token: PaymentToken,
    pub(crate) expected_total: Option<Money>,
    pub(crate) cancel_window_seconds: Option<u32>,
    pub(crate) patience_seconds: Option<u32>,
}

/// To whom and which door. Kept in the database alone: histories and events have its id.
#[derive(Debug, Serialize)]
pub(crate) struct Recipient {
    pub(crate) address_id: AddressId,
    name: String,
    line1: String,
    line2: Option<String>,
    city: String,
    postal_code: String,
}

impl OrderRequest {
    /// Checks everything that can be checked without the catalogue, and tells every broken rule.
    pub(crate) fn checked(caller: &Caller, written: &WrittenOrder) -> Result<Self, Problem> {
        let mut rules = Rules::default();
        let request = Self::kept(&mut rules, caller, written);
        rules.kept(request)
    }

    fn kept(rules: &mut Rules, caller: &Caller, written: &WrittenOrder) -> Option<Self> {
        let customer_id =
            rules.check("/customer_id", customer(caller, written.customer_id.as_deref()));
        let country = &written.ship_to.country;
        let basket =
            Basket::checked(rules, &written.lines, country, written.discount_code.as_deref());
        let recipient = Recipient::checked(rules, customer_id.as_ref(), &written.ship_to);
        let payment_token =
            rules.check("/payment_token", PaymentToken::parse(written.payment_token.as_str()));
        let expected_total =
            written.expected_total.as_ref().and_then(|total| expected_total(rules, total));
        let cancel_window = written
            .cancel_window_seconds
            .as_ref()
            .map(|window| seconds(window, 0, CANCEL_WINDOW_SECONDS_MAX));
        let cancel_window_seconds = rules.check_given("/cancel_window_seconds", cancel_window);
        let patience = written
            .patience_seconds
            .as_ref()
            .map(|patience| seconds(patience, 1, PATIENCE_SECONDS_MAX));
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

    /// What tells a repeat of this request from another one under the same key.
    pub(crate) fn hash(&self) -> Result<RequestHash, Problem> {
        let canonical = serde_json::to_vec(self)
            .map_err(|error| Problem::internal("hashing a request", &error))?;
        Ok(RequestHash::of(&canonical))
    }
}

/// For whom the order is.
fn customer(caller: &Caller, written: Option<&str>) -> Result<CustomerId, String> {
    let written = written.map(CustomerId::parse).transpose().map_err(|error| error.to_string())?;
    match (caller.customer(), written) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(written)) if *own != written => {
            Err("a customer orders for themself: leave this out".to_owned())
        }
        (_, Some(written)) => Ok(written),
        (None, None) => Err("who orders: the token is not a customer's own".to_owned()),
    }
}

impl Recipient {
    /// The address, if one was given. All of it is needed then: half of one is no address.
    fn checked(
        rules: &mut Rules,
        customer_id: Option<&CustomerId>,
        written: &WrittenDestination,
    ) -> Option<Self> {
        let WrittenDestination { country, name, line1, line2, city, postal_code } = written;
        if [name, line1, line2, city, postal_code].iter().all(|field| field.is_none()) {
            return None;
        }
        let mut needed = |pointer: &str, field: &Option<String>, length_max| {
            let text = field.as_deref().unwrap_or_default();
            rules.check(pointer, line_of_text(text, length_max))
        };
        let name = needed("/ship_to/name", name, 200);
        let line1 = needed("/ship_to/line1", line1, 200);
        let city = needed("/ship_to/city", city, 100);
        let postal_code = needed("/ship_to/postal_code", postal_code, 20);
        let line2 = rules
            .check_given("/ship_to/line2", line2.as_deref().map(|text| line_of_text(text, 200)));
        let (name, line1, city, postal_code) = (name?, line1?, city?, postal_code?);
        let whole = [
            name.as_str(),
            line1.as_str(),
            line2.as_deref().unwrap_or_default(),
            city.as_str(),
            postal_code.as_str(),
            country.as_str(),
        ];
        let address_id = AddressId::for_address(customer_id?, &whole.join("\n"));
        Some(Self { address_id, name, line1, line2, city, postal_code })
    }

    /// Puts the address where the carrier finds it, before the order that refers to it starts.
    ///
    /// **Repeats.** The id is made of customer and address, so the same address is one row.
    pub(crate) async fn keep(&self, state: &State, request: &OrderRequest) -> Result<(), Problem> {
        sqlx::query!(
            "insert into customers.addresses
                 (address_id, customer_id, name, line1, line2, city, postal_code, country)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (address_id) do nothing",
            self.address_id.uuid(),
            request.customer_id.as_str(),
            self.name,
            self.line1,
            self.line2,
            self.city,
            self.postal_code,
            request.basket.country.to_string(),
        )
        .execute(&state.database)
        .await
        .map(|_kept| ())
        .or_problem("keeping an address")
    }
}

fn expected_total(rules: &mut Rules, written: &WrittenMoney) -> Option<Money> {
    let amount = rules.check(
        "/expected_total/amount",
        Decimal::from_str_exact(&written.amount)
            .map_err(|_no_decimal| "an amount is a decimal number as text, such as \"19.99\""),
    );
    let currency = rules.check(
        "/expected_total/currency",
        Currency::from_code(&written.currency)
            .ok_or("a currency is a code of ISO 4217, such as GBP"),
    );
    rules.check("/expected_total/amount", Money::new(amount?, currency?))
}
