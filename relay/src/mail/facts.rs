//! Reads a notification's content and recipient at the moment of sending. What no longer holds is
//! not sent.

use chrono::{DateTime, Utc};
use domain::event::{EventType, OrderEvent, Refused};
use domain::{Currency, FulfilmentStatus, MailTemplate, Money, OrderLine, PaymentStatus};
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::letter::{About, Letter, LineTold, OrderTold};
use super::store::Subject;

/// A customer. Personal data: kept in memory only while a mail is sent.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) email: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) name: Option<String>,
    pub(super) locale: Option<String>,
    /// The order's destination, if the notification is about an order.
    pub(super) country: Option<String>,
    pub(super) switched_off: Vec<String>,
}

/// The data for a notification.
pub(super) struct Facts {
    pub(super) recipient: Recipient,
    pub(super) letter: Letter,
    pub(super) standing: Standing,
}

/// Whether the notification still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds.
    Stands,
    /// It does not hold yet.
    NotYet(&'static str),
    /// It no longer holds.
    Over(&'static str),
}

/// Why the content cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The database does not answer, or not as expected.
    #[error("reading a notification's data")]
    Database(#[from] sqlx::Error),
    /// The subject is not on record, or in a form that this release does not know.
    #[error("what the notification tells of is not usable as the database has it")]
    Unusable,
}

/// Reads the data for a notification.
pub(super) async fn read(
    db: &PgPool,
    template: MailTemplate,
    subject: Subject,
    unsubscribe: Option<Uuid>,
) -> Result<Facts, FactsError> {
    match subject {
        Subject::Event { order_id, sequence } => {
            of_order(db, template, order_id, sequence, unsubscribe).await
        }
        Subject::Wait(wait_id) => of_wait(db, wait_id, unsubscribe).await,
    }
}

/// The order's last event that triggers this mail, if any.
pub(super) async fn last_event(
    db: &PgPool,
    template: MailTemplate,
    order_id: Uuid,
) -> Result<Option<Subject>, sqlx::Error> {
    let events = sqlx::query!(
        "select sequence, type as event_type from orders.order_events
         where order_id = $1 order by sequence desc",
        order_id,
    )
    .fetch_all(db)
    .await?;
    let told = events.into_iter().find(|event| {
        event.event_type.parse::<EventType>().ok().and_then(MailTemplate::told_by) == Some(template)
    });
    Ok(told.map(|event| Subject::Event { order_id, sequence: event.sequence }))
}

/// An order's row.
struct OrderRow {
    status: String,
    is_unwinding: bool,
    is_under_review: bool,
    payment_status: String,
    fulfilment_status: String,
    placed_at: DateTime<Utc>,
    country: String,
    currency: String,
    subtotal: Decimal,
    discount: Decimal,
    shipping: Decimal,
    tax: Decimal,
    total: Decimal,
    lines: Json<Vec<OrderLine>>,
    event_type: String,
    event_version: i16,
    event: Value,
    approvable_until: Option<DateTime<Utc>>,
    replaceable_until: Option<DateTime<Utc>>,
    email: Option<String>,
    phone: Option<String>,
    name: Option<String>,
    locale: Option<String>,
    switched_off: Option<Vec<String>>,
}

async fn of_order(
    db: &PgPool,
    template: MailTemplate,
    order_id: Uuid,
    sequence: i32,
    unsubscribe: Option<Uuid>,
) -> Result<Facts, FactsError> {
    let row = order_row(db, order_id, sequence).await?.ok_or(FactsError::Unusable)?;
    let event = OrderEvent::read(&row.event_type, row.event_version, &row.event);
    let event = event.map_err(|_unknown| FactsError::Unusable)?;
    let names = names_of(db, &row.lines.0).await?;
    let pay_until = match template {
        MailTemplate::PaymentNeeded => row.approvable_until,
        MailTemplate::PaymentDeclined => row.replaceable_until,
        MailTemplate::Confirmed
        | MailTemplate::Shipped
        | MailTemplate::Delivered
        | MailTemplate::Cancelled
        | MailTemplate::Rejected
        | MailTemplate::Refunded
        | MailTemplate::BackInStock => None,
    };
    let standing = row.standing(template, pay_until).ok_or(FactsError::Unusable)?;
    let told = row.told(order_id, names, &event, pay_until).ok_or(FactsError::Unusable)?;
    let recipient = Recipient {
        email: row.email,
        phone: row.phone,
        name: row.name.clone(),
        locale: row.locale,
        country: Some(row.country),
        switched_off: row.switched_off.unwrap_or_default(),
    };
    let letter =
        Letter { customer_name: row.name, about: About::Order(Box::new(told)), unsubscribe };
    Ok(Facts { recipient, letter, standing })
}

async fn order_row(
    db: &PgPool,
    order_id: Uuid,
    sequence: i32,
) -> Result<Option<OrderRow>, sqlx::Error> {
    sqlx::query_as!(
        OrderRow,
        r#"select orders.status as "status!", ending is not null as "is_unwinding!",
               coalesce((
                   select review.type = 'order.review-needed' from orders.order_events as review
                   where review.order_id = orders.order_id
                       and review.type in ('order.review-needed', 'order.reviewed')
                   order by review.sequence desc limit 1
               ), false) as "is_under_review!",
               orders.payment_status as "payment_status!",
               orders.fulfilment_status as "fulfilment_status!", orders.placed_at as "placed_at!",
               orders.country as "country!", orders.currency as "currency!",
               orders.subtotal as "subtotal!", orders.discount as "discount!",
               orders.shipping as "shipping!", orders.tax as "tax!", orders.total as "total!",
               orders.lines as "lines!: Json<Vec<OrderLine>>",
               event.type as "event_type!", event.version as "event_version!", event.data as "event!",
               charge.approvable_until as "approvable_until?",
               charge.replaceable_until as "replaceable_until?",
               coalesce(preference.email, customer.email) as email,
               customer.phone as "phone?", coalesce(customer.name, address.name) as name,
               preference.locale as "locale?", preference.switched_off as "switched_off?"
           from orders.orders
           join orders.order_events as event
               on event.order_id = orders.order_id and event.sequence = $2
           left join customers.customers as customer on customer.customer_id = orders.customer_id
           left join customers.mail_preferences as preference
               on preference.customer_id = orders.customer_id
           left join customers.addresses as address on address.address_id = orders.address_id
           left join lateral (
               -- Whose time is over, there is nothing to be done about.
               select case when state = 'awaiting-customer' and charges.approvable_until > now()
                       then charges.approvable_until end as approvable_until,
                   case when state = 'declined' and replaced_at is null
                           and charges.replaceable_until > now()
                       then charges.replaceable_until end as replaceable_until
               from payments.charges
               where charges.order_id = orders.order_id
               order by attempt desc limit 1
           ) as charge on true
           where orders.order_id = $1"#,
        order_id,
        sequence,
    )
    .fetch_optional(db)
    .await
}

/// The names of these lines' articles, in the lines' order; an unknown article is named by its
/// number.
async fn names_of(db: &PgPool, lines: &[OrderLine]) -> Result<Vec<String>, sqlx::Error> {
    let skus: Vec<_> = lines.iter().map(|line| line.sku.to_string()).collect();
    let names = sqlx::query_scalar!(
        r#"select coalesce(name, line.sku) as "name!"
           from unnest($1::text[]) with ordinality as line (sku, number)
           left join catalog.products on products.sku = line.sku
           order by line.number"#,
        &skus,
    );
    names.fetch_all(db).await
}

impl OrderRow {
    /// Whether the mail's statement still holds; `None` if the record is not readable.
    fn standing(
        &self,
        template: MailTemplate,
        pay_until: Option<DateTime<Utc>>,
    ) -> Option<Standing> {
        let goes_on = !self.is_unwinding && matches!(&*self.status, "processing" | "completed");
        let payment: PaymentStatus = self.payment_status.parse().ok()?;
        let fulfilment: FulfilmentStatus = self.fulfilment_status.parse().ok()?;
        Some(match template {
            MailTemplate::Confirmed if !goes_on => Standing::Over("the order is not fulfilled"),
            MailTemplate::Confirmed if self.is_under_review => {
                Standing::NotYet("a person has to look at the order first")
            }
            MailTemplate::PaymentNeeded | MailTemplate::PaymentDeclined
                if !goes_on || pay_until.is_none() =>
            {
                Standing::Over("the order no longer waits for the payment")
            }
            MailTemplate::PaymentNeeded if payment != PaymentStatus::AwaitingCustomer => {
                Standing::Over("the order no longer waits for the payment")
            }
            MailTemplate::PaymentDeclined if payment != PaymentStatus::Declined => {
                Standing::Over("the order no longer waits for the payment")
            }
            MailTemplate::Shipped if !fulfilment.has_left() => {
                Standing::Over("the parcel was recalled")
            }
            MailTemplate::Delivered if fulfilment != FulfilmentStatus::Delivered => {
                Standing::Over("the parcel has come back")
            }
            MailTemplate::Confirmed
            | MailTemplate::PaymentNeeded
            | MailTemplate::PaymentDeclined
            | MailTemplate::Shipped
            | MailTemplate::Delivered
            | MailTemplate::Cancelled
            | MailTemplate::Rejected
            | MailTemplate::Refunded
            | MailTemplate::BackInStock => Standing::Stands,
        })
    }

    /// The mail's content; `None` if the record is not readable.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few events have data for a mail")]
    fn told(
        &self,
        order_id: Uuid,
        names: Vec<String>,
        event: &OrderEvent,
        pay_until: Option<DateTime<Utc>>,
    ) -> Option<OrderTold> {
        let currency = Currency::from_code(&self.currency)?;
        let money = |amount| Money::new(amount, currency).ok();
        let (mut tracking, mut delivered_at, mut refunded, mut why) = (None, None, None, None);
        match event {
            OrderEvent::OrderShipped(parcel) => tracking = Some(parcel.tracking.clone()),
            OrderEvent::OrderDelivered(parcel) => {
                tracking = Some(parcel.tracking.clone());
                delivered_at = Some(parcel.delivered_at);
            }
            OrderEvent::RefundSucceeded(refund) => refunded = Some(refund.amount),
            OrderEvent::OrderRejected(Refused { rejection }) => {
                let written = serde_json::to_value(rejection).ok()?;
                why = Some(written.get("code")?.as_str()?.to_owned());
            }
            _ => {}
        }
        let lines = self.lines.0.iter().zip(names).map(|(line, name)| LineTold {
            sku: line.sku.to_string(),
            name,
            quantity: line.quantity.pieces(),
            total: line.line_total,
        });
        Some(OrderTold {
            order_id,
            placed_at: self.placed_at,
            lines: lines.collect(),
            subtotal: money(self.subtotal)?,
            discount: money(self.discount)?,
            shipping: money(self.shipping)?,
            tax: money(self.tax)?,
            total: money(self.total)?,
            payment_status: self.payment_status.clone(),
            pay_until,
            tracking,
            delivered_at,
            refunded,
            why,
        })
    }
}

async fn of_wait(
    db: &PgPool,
    wait_id: i64,
    unsubscribe: Option<Uuid>,
) -> Result<Facts, FactsError> {
    let row = sqlx::query!(
        r#"select waits.sku as "sku!", products.name as "article!", withdrawn_at is not null as "is_withdrawn!",
               coalesce(on_hand > reserved, false) as "is_available!",
               coalesce(preference.email, customer.email) as email,
               customer.phone as "phone?", customer.name as "name?",
               preference.locale as "locale?", preference.switched_off as "switched_off?"
           from mail.waits
           join catalog.products on products.sku = waits.sku
           left join inventory.stock on stock.sku = waits.sku
           left join customers.customers as customer on customer.customer_id = waits.customer_id
           left join customers.mail_preferences as preference
               on preference.customer_id = waits.customer_id
           where wait_id = $1"#,
        wait_id,
    )
    .fetch_optional(db)
    .await?
    .ok_or(FactsError::Unusable)?;
    let standing = if row.is_withdrawn {
        Standing::Over("the customer no longer waits")
    } else if row.is_available {
        Standing::Stands
    } else {
        // The customer keeps waiting, and is notified when the article is available again.
        Standing::NotYet("the article is sold out again")
    };
    let about = About::Article { sku: row.sku, name: row.article };
    let recipient = Recipient {
        email: row.email,
        phone: row.phone,
        name: row.name.clone(),
        locale: row.locale,
        country: None,
        switched_off: row.switched_off.unwrap_or_default(),
    };
    let letter = Letter { customer_name: row.name, about, unsubscribe };
    Ok(Facts { recipient, letter, standing })
}
