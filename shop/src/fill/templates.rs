//! The possible courses of an order, computed once for each real order by the shop's own rules, so
//! that a million orders are written by copying.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::event::{
    Booked, Cancelled, Completed, Delivered, OrderEvent, Parcelled, PaymentMoved, RefundRequested,
    RefundSucceeded, Refused, StockLines, Unwinding,
};
use domain::ledger::{Entry, JournalEntry};
use domain::refund::{Ask, Left, Parts};
use domain::{
    ClaimLine, CountryCode, Currency, CustomerId, Destination, Ending, Money, Order, OrderId,
    OrderState, PaymentToken, PriceList, PricedSku, Quantity, RateTable, Rejection, ShippingRate,
    Sku, StepName, Terms,
};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};
use strum::{EnumIter, IntoEnumIterator as _};
use uuid::Uuid;

use super::FillError;
use crate::retail::{RetailOrder, RetailOrders};

/// A course of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
enum Course {
    Delivered,
    Shipped,
    RefundedInPart,
    RefundedInFull,
    Undeliverable,
    Declined,
    OutOfStock,
    Cancelled,
}

impl Course {
    /// The number of orders in a hundred that take it.
    const fn share(self) -> usize {
        match self {
            Self::Delivered => 62,
            Self::Shipped => 22,
            Self::RefundedInPart | Self::Declined => 4,
            Self::RefundedInFull | Self::OutOfStock => 2,
            Self::Undeliverable => 1,
            Self::Cancelled => 3,
        }
    }
}

/// All data of one course of one order; what differs between copies (id, customer, times, and the
/// parties' references) is filled in when it is written.
#[derive(Debug, Serialize)]
pub(super) struct Template {
    #[serde(rename = "template")]
    number: usize,
    method: &'static str,
    pieces: u64,
    country: CountryCode,
    status_data: Value,
    payment_status: &'static str,
    fulfilment_status: &'static str,
    is_shipped: bool,
    claim: Vec<ClaimLine>,
    /// The end of the reservation, if there is one.
    goods: Option<&'static str>,
    events: Vec<Told>,
    steps: Vec<Step>,
    bookings: Vec<Booking>,
    payment: Option<PaymentTold>,
    refund: Option<RefundTold>,
}

/// An event, with its time in seconds after placement.
#[derive(Debug, Serialize)]
struct Told {
    kind: &'static str,
    data: Value,
    seconds: i64,
}

/// The idempotency record of a step.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    outcome: Option<Value>,
    is_undone: bool,
    seconds: i64,
}

/// A transaction of the books.
#[derive(Debug, Serialize)]
struct Booking {
    /// Its key, without the order's id.
    name: &'static str,
    is_reversal: bool,
    entries: Vec<Entry>,
    seconds: i64,
}

/// The order's payment in its final state, at the shop and its provider.
#[derive(Debug, Serialize)]
struct PaymentTold {
    state: &'static str,
    at_provider: &'static str,
    captured: Decimal,
    refunded: Decimal,
    claimed: Decimal,
    /// Whether the bank has authorised it, so that an expiry is set.
    is_authorised: bool,
}

/// A refund.
#[derive(Debug, Serialize)]
struct RefundTold {
    /// Its key, without the order's id.
    name: &'static str,
    amount: Decimal,
    /// For a requested refund, its parts: goods, their tax, shipping, its tax.
    parts: Option<[Decimal; 4]>,
    seconds: i64,
}

/// The shop's articles and prices, from its database.
#[derive(Debug, Default)]
pub(super) struct Prices {
    pub(super) articles: BTreeMap<String, (Decimal, Decimal)>,
    pub(super) tax_percent: BTreeMap<String, Decimal>,
    pub(super) shipping: BTreeMap<String, (Decimal, Option<Decimal>)>,
}

/// Every course of every real order with at most this many lines.
pub(super) fn templates(prices: &Prices, lines_max: usize) -> Result<Vec<Template>, FillError> {
    let rates = prices.rates()?;
    let read = RetailOrders::read(None, SAMPLE_SIZE)?;
    let short = read.orders.iter().map(|(_, order)| order);
    let short = short.filter(|order| (1..=lines_max).contains(&order.lines.len()));
    let mut templates = Vec::new();
    for retail in short {
        let Some(order) = priced(retail, prices, &rates)? else { continue };
        for course in Course::iter() {
            templates.push(Story::of(&order, course)?.into_template(templates.len())?);
        }
    }
    if templates.is_empty() { Err(FillError::NoTemplates { lines_max }) } else { Ok(templates) }
}

/// The number of orders in the sample.
const SAMPLE_SIZE: usize = 882;

/// The number of courses of each order.
pub(super) fn courses() -> usize {
    Course::iter().count()
}

/// The courses of a hundred orders, as indices.
pub(super) fn shares() -> Vec<i32> {
    let courses = Course::iter().zip(0_i32..);
    courses.flat_map(|(course, place)| std::iter::repeat_n(place, course.share())).collect()
}

impl Prices {
    fn rates(&self) -> Result<RateTable, FillError> {
        let mut rates = RateTable::default();
        for (country, percent) in &self.tax_percent {
            rates.sell_to(CountryCode::parse(country)?, *percent);
        }
        for (country, (fee, free_from)) in &self.shipping {
            let free_from = free_from.map(pounds).transpose()?;
            rates.ship_to(
                CountryCode::parse(country)?,
                ShippingRate { fee: pounds(*fee)?, free_from },
            );
        }
        Ok(rates)
    }
}

fn pounds(amount: Decimal) -> Result<Money, FillError> {
    Ok(Money::new(amount, Currency::GBP)?)
}

/// The order as the starter would price it; `None` if the shop does not sell its articles.
fn priced(
    retail: &RetailOrder,
    prices: &Prices,
    rates: &RateTable,
) -> Result<Option<Order>, FillError> {
    let country = CountryCode::parse(retail.country)?;
    let mut basket = Vec::new();
    for line in &retail.lines {
        let Some((price, cost)) = prices.articles.get(&line.sku) else { return Ok(None) };
        let sku = Sku::parse(line.sku.as_str())?;
        let article = PricedSku { sku, unit_price: pounds(*price)?, unit_cost: pounds(*cost)? };
        basket.push((article, Quantity::new(line.quantity.into())?));
    }
    let PriceList { lines, totals, cost_of_goods } = PriceList::of(&basket, None, country, rates)?;
    let cost_of_goods = cost_of_goods.map_or_else(|| pounds(Decimal::ZERO), Ok)?;
    // An order for zero moves no money, and has no payment.
    if totals.total.is_zero() {
        return Ok(None);
    }
    Ok(Some(Order {
        order_id: OrderId::of(Uuid::nil()),
        customer_id: CustomerId::parse(retail.customer.as_str())?,
        placed_at: DateTime::<Utc>::UNIX_EPOCH,
        record_version: 1,
        lines,
        totals,
        cost_of_goods,
        discount_code: None,
        ship_to: Destination { country, address_id: None },
        payment_token: PaymentToken::parse("tok_visa")?,
        terms: Terms { approval_seconds: APPROVAL_SECONDS, ..Terms::default() },
    }))
}

/// The starter's time limit for a customer's approval.
const APPROVAL_SECONDS: u32 = 900;

/// The course of one order as it is generated.
struct Story<'a> {
    order: &'a Order,
    seconds: i64,
    state: OrderState,
    events: Vec<Told>,
    steps: Vec<Step>,
    bookings: Vec<Booking>,
    goods: Option<&'static str>,
    payment: Option<PaymentTold>,
    refund: Option<RefundTold>,
    method: &'static str,
}

impl<'a> Story<'a> {
    fn of(order: &'a Order, course: Course) -> Result<Self, FillError> {
        let mut story = Self {
            order,
            seconds: 0,
            state: OrderState::placed(),
            events: Vec::new(),
            steps: Vec::new(),
            bookings: Vec::new(),
            goods: None,
            payment: None,
            refund: None,
            method: "tok_visa",
        };
        story.tell(0, &OrderEvent::OrderPlaced(order.placed()))?;
        match course {
            Course::Delivered => {
                story.sold()?;
                story.delivered()?;
            }
            Course::Shipped => story.sold()?,
            Course::RefundedInPart => {
                story.sold()?;
                story.delivered()?;
                let tenth = order.totals.total.percent(Decimal::TEN)?;
                story.refunded(if tenth.is_zero() { order.totals.total } else { tenth })?;
            }
            Course::RefundedInFull => {
                story.sold()?;
                story.delivered()?;
                story.refunded(order.totals.total)?;
            }
            Course::Undeliverable => story.undeliverable()?,
            Course::Declined => story.declined()?,
            Course::OutOfStock => story.out_of_stock()?,
            Course::Cancelled => story.cancelled()?,
        }
        Ok(story)
    }

    fn tell(&mut self, after: i64, event: &OrderEvent) -> Result<(), FillError> {
        self.seconds = self.seconds.saturating_add(after);
        self.state = self.state.clone().apply(event, DateTime::<Utc>::UNIX_EPOCH);
        self.events.push(Told {
            kind: event.event_type().name(),
            data: event.data()?,
            seconds: self.seconds,
        });
        Ok(())
    }

    fn step(&mut self, step: StepName, outcome: Value) {
        let seconds = self.seconds;
        self.steps.push(Step {
            name: step.name(),
            outcome: Some(outcome),
            is_undone: false,
            seconds,
        });
    }

    fn book(&mut self, name: &'static str, is_reversal: bool, entries: &[Entry]) {
        let (entries, seconds) = (entries.to_vec(), self.seconds);
        self.bookings.push(Booking { name, is_reversal, entries, seconds });
    }

    fn moved(&self) -> PaymentMoved {
        // Filled in later: each payment has its own reference.
        PaymentMoved { amount: self.order.totals.total, provider_reference: String::new() }
    }

    fn stock(&self) -> StockLines {
        StockLines { lines: self.order.stock_claim().lines }
    }

    fn reserved(&mut self) -> Result<(), FillError> {
        self.tell(1, &OrderEvent::StockReserved(self.stock()))?;
        self.goods = Some("held");
        self.step(StepName::ReserveStock, json!({ "done": null }));
        Ok(())
    }

    fn paid(&mut self) -> Result<(), FillError> {
        self.reserved()?;
        self.tell(1, &OrderEvent::PaymentAuthorised(self.moved()))?;
        // Filled in like the event.
        self.step(
            StepName::AuthorisePayment,
            json!({ "done": { "expires_at": null, "provider_reference": "" } }),
        );
        self.tell(1, &OrderEvent::PaymentCaptured(self.moved()))?;
        self.step(StepName::CapturePayment, json!({ "done": null }));
        let deposit = JournalEntry::deposit(self.order)?;
        let entries = deposit.entries().to_vec();
        self.tell(1, &OrderEvent::LedgerPosted(Booked { entries }))?;
        self.step(StepName::PostEntries, json!({ "done": null }));
        self.book("post-entries:1", false, deposit.entries());
        self.payment = Some(PaymentTold {
            state: "captured",
            at_provider: "captured",
            captured: self.order.totals.total.amount(),
            refunded: Decimal::ZERO,
            claimed: Decimal::ZERO,
            is_authorised: true,
        });
        Ok(())
    }

    fn sold(&mut self) -> Result<(), FillError> {
        self.paid()?;
        self.tell(1, &OrderEvent::OrderShipped(Parcelled { tracking: String::new() }))?;
        self.goods = Some("sold");
        self.step(StepName::ShipOrder, json!({ "done": { "tracking": "" } }));
        let revenue = JournalEntry::revenue(self.order)?;
        let entries = revenue.as_ref().map(JournalEntry::entries).unwrap_or_default().to_vec();
        if !entries.is_empty() {
            self.book("recognise-revenue:1", false, &entries);
        }
        self.tell(1, &OrderEvent::RevenueRecognised(Booked { entries }))?;
        self.step(StepName::RecogniseRevenue, json!({ "done": null }));
        self.tell(0, &OrderEvent::OrderCompleted(Completed {}))
    }

    fn delivered(&mut self) -> Result<(), FillError> {
        let delivered = Delivered {
            tracking: String::new(),
            delivered_at: DateTime::<Utc>::UNIX_EPOCH,
            reported_by: "web-shop".to_owned(),
        };
        self.tell(DELIVERED_AFTER, &OrderEvent::OrderDelivered(delivered))
    }

    fn refunded(&mut self, amount: Money) -> Result<(), FillError> {
        let total = self.order.totals.total;
        let left = Left::of(&self.order.lines, &self.order.totals, &[])?;
        let parts = left.parts_of(&Ask::Amount(amount))?;
        let key = self.order.key(StepName::IssueRefund);
        self.tell(
            REFUNDED_AFTER,
            &OrderEvent::RefundRequested(RefundRequested {
                number: 1,
                amount,
                lines: Vec::new(),
                reason: "arrived broken".to_owned(),
                requested_by: "shop".to_owned(),
            }),
        )?;
        let seconds = self.seconds;
        let left = total.checked_sub(amount)?;
        let provider_reference = String::new();
        self.tell(
            1,
            &OrderEvent::RefundSucceeded(RefundSucceeded {
                number: 1,
                amount,
                left,
                provider_reference,
            }),
        )?;
        let entry = JournalEntry::refund(key, parts)?;
        self.book("issue-refund:1", false, entry.entries());
        let entries = entry.entries().to_vec();
        self.tell(0, &OrderEvent::RefundPosted(Booked { entries }))?;
        let Parts { goods, goods_tax, shipping, shipping_tax } = parts;
        self.refund = Some(RefundTold {
            name: "issue-refund:1",
            amount: amount.amount(),
            parts: Some([goods, goods_tax, shipping, shipping_tax].map(Money::amount)),
            seconds,
        });
        if let Some(payment) = &mut self.payment {
            payment.refunded = amount.amount();
            payment.claimed = amount.amount();
            if left.is_zero() {
                payment.state = "refunded";
            }
        }
        Ok(())
    }

    fn unwinding(&mut self, ending: &Ending) -> Result<(), FillError> {
        self.tell(1, &OrderEvent::OrderUnwinding(Unwinding { ending: ending.clone() }))
    }

    fn released(&mut self) -> Result<(), FillError> {
        self.tell(1, &OrderEvent::StockReleased(self.stock()))?;
        self.goods = Some("released");
        Ok(())
    }

    /// Everything that was done has been undone.
    fn ended(&mut self, ending: Ending) -> Result<(), FillError> {
        for step in &mut self.steps {
            step.is_undone = true;
        }
        self.tell(1, &ending.into())
    }

    fn undeliverable(&mut self) -> Result<(), FillError> {
        self.paid()?;
        let rejection = Rejection::AddressUndeliverable {
            country: self.order.ship_to.country,
            why: "no such street".to_owned(),
        };
        self.tell(1, &OrderEvent::ShipmentRefused(Refused { rejection: rejection.clone() }))?;
        self.step(StepName::ShipOrder, json!({ "refused": rejection }));
        let ending = Ending::Rejected { rejection };
        self.unwinding(&ending)?;
        self.tell(1, &OrderEvent::PaymentRefunded(self.moved()))?;
        let total = self.order.totals.total.amount();
        let name = "authorise-payment:1:refund";
        self.refund = Some(RefundTold { name, amount: total, parts: None, seconds: self.seconds });
        if let Some(payment) = &mut self.payment {
            payment.state = "refunded";
            payment.refunded = total;
        }
        let reversed = JournalEntry::deposit(self.order)?.reversed();
        let entries = reversed.entries().to_vec();
        self.tell(1, &OrderEvent::LedgerReversed(Booked { entries }))?;
        self.book("post-entries:1:reversal", true, reversed.entries());
        self.released()?;
        self.ended(ending)
    }

    fn declined(&mut self) -> Result<(), FillError> {
        self.method = "tok_declined";
        self.reserved()?;
        let rejection = Rejection::CardDeclined { decline_code: "insufficient_funds".to_owned() };
        self.tell(1, &OrderEvent::PaymentDeclined(Refused { rejection: rejection.clone() }))?;
        self.step(StepName::AuthorisePayment, json!({ "refused": rejection }));
        self.payment = Some(PaymentTold {
            state: "voided",
            at_provider: "voided",
            captured: Decimal::ZERO,
            refunded: Decimal::ZERO,
            claimed: Decimal::ZERO,
            is_authorised: false,
        });
        let ending = Ending::Rejected { rejection };
        self.unwinding(&ending)?;
        self.released()?;
        self.ended(ending)
    }

    fn out_of_stock(&mut self) -> Result<(), FillError> {
        let claim = self.order.stock_claim().lines;
        let Some(ClaimLine { sku, quantity }) = claim.into_iter().next() else { return Ok(()) };
        let rejection = Rejection::OutOfStock { sku, wanted: quantity, available: 0 };
        self.tell(1, &OrderEvent::StockRefused(Refused { rejection: rejection.clone() }))?;
        self.step(StepName::ReserveStock, json!({ "refused": rejection }));
        let ending = Ending::Rejected { rejection };
        self.unwinding(&ending)?;
        self.ended(ending)
    }

    /// Cancelled before its launch: only the tombstone exists.
    fn cancelled(&mut self) -> Result<(), FillError> {
        let reason = "the customer has changed their mind".to_owned();
        let (step, seconds) = (StepName::ReserveStock.name(), 1);
        self.steps.push(Step { name: step, outcome: None, is_undone: true, seconds });
        self.tell(1, &OrderEvent::OrderCancelled(Cancelled { reason }))
    }

    fn into_template(self, template: usize) -> Result<Template, FillError> {
        let OrderState { status, payment_status, fulfilment_status, tracking, .. } = self.state;
        Ok(Template {
            number: template,
            method: self.method,
            pieces: self.order.parcel().pieces,
            country: self.order.ship_to.country,
            status_data: serde_json::to_value(status)?,
            payment_status: payment_status.name(),
            fulfilment_status: fulfilment_status.name(),
            is_shipped: tracking.is_some(),
            claim: self.order.stock_claim().lines,
            goods: self.goods,
            events: self.events,
            steps: self.steps,
            bookings: self.bookings,
            payment: self.payment,
            refund: self.refund,
        })
    }
}

/// Seconds from hand-over to delivery, and then to the refund.
const DELIVERED_AFTER: i64 = 172_800;
const REFUNDED_AFTER: i64 = 604_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_orders_take_a_course_each() {
        assert_eq!(Course::iter().map(Course::share).sum::<usize>(), 100);
        assert_eq!(shares().len(), 100);
    }
}
