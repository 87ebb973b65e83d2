//! A mail's content, independent of locale, and the samples that every template is tested with at
//! startup.

use chrono::{DateTime, Utc};
use domain::{Currency, MailTemplate, Money, MoneyError, as_one_line};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::locale::Formats;

/// Longer names are truncated.
const NAME_MAX: usize = 100;

/// The shop, and the URLs of a mail's links. `None`: the mail does not have that link.
///
/// **Shape.** `{order_id}`, `{sku}` and `{tracking}` in the URLs are placeholders.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    /// The shop's name.
    pub name: String,
    /// Its home page.
    pub url: Option<String>,
    /// Where customers see an order, and pay for it.
    pub order_url: Option<String>,
    /// Where customers see an article.
    pub article_url: Option<String>,
    /// Where the carrier tracks a parcel.
    pub tracking_url: Option<String>,
    /// The base URL of the API, for unsubscribe links.
    pub api_url: Option<String>,
}

/// A mail's content.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The customer's name. User input: it may contain anything.
    pub customer_name: Option<String>,
    /// What it is about.
    pub about: About,
    /// The token of the unsubscribe link, if mails of this kind have one.
    pub unsubscribe: Option<Uuid>,
}

/// What a mail is about.
#[derive(Clone, Debug)]
pub enum About {
    /// An order.
    Order(Box<OrderTold>),
    /// An article that is available again.
    Article {
        /// Its number.
        sku: String,
        /// Its name.
        name: String,
    },
}

/// What a mail says about an order.
#[derive(Clone, Debug)]
pub struct OrderTold {
    /// The order.
    pub order_id: Uuid,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// What was bought.
    pub lines: Vec<LineTold>,
    /// The sum of the lines.
    pub subtotal: Money,
    /// The discount.
    pub discount: Money,
    /// The shipping fee.
    pub shipping: Money,
    /// Sales tax.
    pub tax: Money,
    /// What the customer pays.
    pub total: Money,
    /// The payment status, as in the API.
    pub payment_status: String,
    /// The deadline for the customer's payment, if one is due.
    pub pay_until: Option<DateTime<Utc>>,
    /// The carrier's tracking number, if there is one.
    pub tracking: Option<String>,
    /// When the parcel was delivered, if the mail reports that.
    pub delivered_at: Option<DateTime<Utc>>,
    /// The amount refunded, if the mail reports that.
    pub refunded: Option<Money>,
    /// The code of the shop's reason, if the mail gives one.
    pub why: Option<String>,
}

/// A line of an order.
#[derive(Clone, Debug)]
pub struct LineTold {
    /// The article's number.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// How many pieces.
    pub quantity: u32,
    /// Their total price.
    pub total: Money,
}

impl Letter {
    /// The templates' variables, formatted for this locale.
    pub(super) fn variables(&self, shop: &Shop, formats: &Formats) -> Value {
        let name = self.customer_name.as_deref().map(|name| as_one_line(name, NAME_MAX));
        let base = shop.api_url.as_deref().map(|url| url.trim_end_matches('/'));
        let unsubscribe = self.unsubscribe.zip(base);
        let unsubscribe = unsubscribe.map(|(token, url)| format!("{url}/v1/unsubscribe/{token}"));
        let mut all = json!({
            "shop": { "name": shop.name, "url": shop.url },
            "customer": { "name": name.filter(|name| !name.is_empty()) },
            "unsubscribe_url": unsubscribe,
        });
        let own = match &self.about {
            About::Order(order) => order.variables(shop, formats),
            About::Article { sku, name } => {
                let url = filled(shop.article_url.as_deref(), "{sku}", sku);
                json!({ "article": { "sku": sku, "name": as_one_line(name, NAME_MAX), "url": url } })
            }
        };
        if let (Some(all), Value::Object(own)) = (all.as_object_mut(), own) {
            all.extend(own);
        }
        all
    }

    /// Two valid sample letters of this kind, one with all optional parts and one with none. They
    /// are of no real order.
    ///
    /// **Errors.** An invalid amount, which would be a bug.
    pub fn samples(template: MailTemplate) -> Result<[Self; 2], MoneyError> {
        let about = match template {
            MailTemplate::BackInStock => {
                let article = About::Article {
                    sku: "85123A".to_owned(),
                    name: "WHITE HANGING HEART T-LIGHT HOLDER".to_owned(),
                };
                [article.clone(), article]
            }
            MailTemplate::Confirmed
            | MailTemplate::PaymentNeeded
            | MailTemplate::PaymentDeclined
            | MailTemplate::Shipped
            | MailTemplate::Delivered
            | MailTemplate::Cancelled
            | MailTemplate::Rejected
            | MailTemplate::Refunded => {
                let full = OrderTold::sample()?;
                let bare = full.bare()?;
                [About::Order(Box::new(full)), About::Order(Box::new(bare))]
            }
        };
        let [full, bare] = about;
        let unsubscribe = template.can_be_switched_off().then(Uuid::nil);
        let name = Some("Ada Example".to_owned());
        Ok([
            Self { customer_name: name, about: full, unsubscribe },
            Self { customer_name: None, about: bare, unsubscribe: None },
        ])
    }
}

impl OrderTold {
    fn variables(&self, shop: &Shop, formats: &Formats) -> Value {
        let order_id = self.order_id.to_string();
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "sku": line.sku,
                    "name": as_one_line(&line.name, NAME_MAX),
                    "quantity": line.quantity,
                    "total": formats.money(line.total),
                })
            })
            .collect();
        let tracking = self.tracking.as_deref().map(|number| as_one_line(number, NAME_MAX));
        let parcel_url = filled(
            shop.tracking_url.as_deref().filter(|_url| tracking.is_some()),
            "{tracking}",
            tracking.as_deref().unwrap_or_default(),
        );
        let discount = Some(self.discount).filter(|discount| !discount.is_zero());
        json!({
            "order": {
                "id": order_id,
                "number": order_id.split('-').next(),
                "url": filled(shop.order_url.as_deref(), "{order_id}", &order_id),
                "placed_on": formats.date(self.placed_at),
                "lines": lines,
                "subtotal": formats.money(self.subtotal),
                "discount": discount.map(|discount| formats.money(discount)),
                "shipping": formats.money(self.shipping),
                "tax": formats.money(self.tax),
                "total": formats.money(self.total),
                "payment_status": self.payment_status,
            },
            "payment": { "until": self.pay_until.map(|until| formats.moment(until)) },
            "parcel": {
                "tracking": tracking,
                "url": parcel_url,
                "delivered_on": self.delivered_at.map(|moment| formats.date(moment)),
            },
            "refund": { "amount": self.refunded.map(|amount| formats.money(amount)) },
            "why": self.why,
        })
    }

    fn sample() -> Result<Self, MoneyError> {
        let pounds = |pence: i64| Money::new(Decimal::new(pence, 2), Currency::GBP);
        let line = LineTold {
            sku: "85123A".to_owned(),
            name: "WHITE HANGING HEART T-LIGHT HOLDER".to_owned(),
            quantity: 6,
            total: pounds(1_530)?,
        };
        let placed_at = DateTime::from_timestamp(1_793_534_400, 0).unwrap_or_default();
        Ok(Self {
            order_id: Uuid::nil(),
            placed_at,
            lines: vec![line],
            subtotal: pounds(1_530)?,
            discount: pounds(153)?,
            shipping: pounds(395)?,
            tax: pounds(354)?,
            total: pounds(2_126)?,
            payment_status: "refunded".to_owned(),
            pay_until: Some(placed_at),
            tracking: Some("T-1".to_owned()),
            delivered_at: Some(placed_at),
            refunded: Some(pounds(510)?),
            why: Some("out-of-stock".to_owned()),
        })
    }

    /// The same letter without its optional parts.
    fn bare(&self) -> Result<Self, MoneyError> {
        Ok(Self {
            discount: Money::zero(self.discount.currency())?,
            payment_status: "voided".to_owned(),
            why: None,
            ..self.clone()
        })
    }
}

/// Replaces the placeholder in the URL.
fn filled(url: Option<&str>, name: &str, value: &str) -> Option<String> {
    url.map(|url| url.replace(name, &escaped(value)))
}

/// Escapes a text for a URL's path.
fn escaped(text: &str) -> String {
    text.bytes().map(escaped_byte).collect()
}

fn escaped_byte(byte: u8) -> String {
    let letter = char::from(byte);
    if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | '~') {
        letter.to_string()
    } else {
        format!("%{byte:02X}")
    }
}
