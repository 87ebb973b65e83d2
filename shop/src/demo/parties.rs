//! All receivers of the orders' events: the relay's sinks, customers by mail, invoices, and the
//! demo's own webhook endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use domain::Money;
use domain::invoice::DocumentKind;
use futures::{StreamExt, TryStreamExt, stream};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::receiver::{HOST, Receiver};
use super::{Dealings, DemoError, Event, LOOK_PAUSE, LOOKS_AT_ONCE, Outcome, events};
use crate::consumer::ConsumerArgs;
use crate::ordersaga::{ApiError, Ordersaga};
use crate::plan::Planned;
use crate::screen::{heading, say};

/// The relay's receivers, by the relay's own environment variables.
#[derive(Clone, Debug, Args)]
pub(crate) struct ToldBy {
    /// Hosts inside the shop's network that webhooks may call, as set for relay and API; unless
    /// 127.0.0.1 is among them, the demo creates no endpoint
    #[arg(long, env = "WEBHOOK_INTERNAL_HOSTS", value_delimiter = ',')]
    webhook_internal_hosts: Vec<String>,

    /// The mail server, as set for the relay; without it, customers get no addresses
    #[arg(long, env = "MAIL_SERVER")]
    mail_server: Option<String>,

    /// Kafka's brokers, as set for the relay
    #[arg(long, env = "RELAY_KAFKA_BROKERS")]
    kafka_brokers: Option<String>,

    #[command(flatten)]
    consumer: ConsumerArgs,

    /// The seller of invoices, as set for the relay; without it, no invoices are issued
    #[arg(long, env = "RELAY_INVOICE_SELLER_NAME")]
    invoice_seller_name: Option<String>,
}

/// The receivers, ready to receive.
pub(super) struct Parties<'a> {
    told_by: &'a ToldBy,
    operator: Ordersaga,
    receiver: Option<Receiver>,
}

/// What the receivers got.
pub(super) struct Hearsay {
    /// Whether every sink received every event, and the demo's endpoint in order.
    pub(super) all_heard: bool,
    /// Whether each document equals the charge or refund, and none is missing.
    pub(super) is_invoiced_right: bool,
    /// Whether no mail is parked or waiting.
    pub(super) all_mailed: bool,
    /// The consumer's results.
    pub(super) consumed: Consumed,
}

/// The results of a consumer, if one is available.
pub(super) struct Consumed {
    /// Whether it applied every event, or 5,000.
    pub(super) is_enough: bool,
    /// The file of the events it applied.
    pub(super) inbox: Option<PathBuf>,
}

/// What receivers must have got of an order.
struct Known {
    order_id: String,
    sequences: Vec<u32>,
    /// The documents that must have been issued, in this order.
    documents: Vec<Document>,
}

/// An invoice or a credit note.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Document {
    kind: DocumentKind,
    total: Money,
}

#[derive(Deserialize)]
struct Sinks {
    items: Vec<SinkStanding>,
}

#[derive(Deserialize)]
struct SinkStanding {
    sink: String,
    waiting: i64,
    delivered: i64,
    not_wanted: i64,
    refused: i64,
    retried: i64,
    behind: i64,
    readers: Vec<String>,
}

#[derive(Deserialize)]
struct Mails {
    items: Vec<Mail>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Mail {
    template: String,
    state: String,
}

/// The number of a template's mails, by state.
#[derive(Default)]
struct MailCount {
    made: u32,
    sent: u32,
    skipped: u32,
    parked: u32,
}

impl SinkStanding {
    fn parked(&self) -> i64 {
        self.refused.saturating_add(self.retried).saturating_add(self.behind)
    }

    /// Whether it has handled at least this many messages, and its receiver has nothing left to
    /// get.
    fn has_had(&self, at_least: i64) -> bool {
        let had = self.delivered.saturating_add(self.not_wanted);
        self.waiting == 0 && self.parked() == 0 && had >= at_least
    }

    /// Whether waiting is useless: everything is delivered, or the rest waits for a person.
    const fn is_settled(&self) -> bool {
        self.waiting == 0 && self.retried == 0 && (self.refused > 0 || self.behind == 0)
    }
}

impl ToldBy {
    /// The sinks that must be read before the first order is placed.
    fn sinks(&self) -> Vec<&'static str> {
        let all = [
            ("invoices", &self.invoice_seller_name),
            ("kafka", &self.kafka_brokers),
            ("mail", &self.mail_server),
        ];
        all.into_iter().filter_map(|(sink, setting)| setting.as_ref().map(|_set| sink)).collect()
    }
}

impl<'a> Parties<'a> {
    /// Creates the demo's endpoint, gives customers addresses, and waits until the relay reads for
    /// every sink: mails and invoices ignore earlier events.
    pub(super) async fn gather(
        told_by: &'a ToldBy,
        dealings: Dealings<'_>,
        operator: Ordersaga,
        plan: &[Planned],
    ) -> Result<Self, DemoError> {
        let is_open = told_by.webhook_internal_hosts.iter().any(|host| host == HOST);
        let receiver = if is_open { Some(Receiver::open(&operator).await?) } else { None };
        if told_by.mail_server.is_some() {
            give_addresses(dealings.shop, plan).await?;
        }
        let parties = Self { told_by, operator, receiver };
        parties.until_read(dealings).await?;
        Ok(parties)
    }

    async fn until_read(&self, dealings: Dealings<'_>) -> Result<(), DemoError> {
        let began = Instant::now();
        let mut wanted = self.told_by.sinks().into_iter().map(str::to_owned).collect::<Vec<_>>();
        wanted.extend(self.receiver.as_ref().map(Receiver::sink));
        loop {
            let sinks = self.sinks().await?;
            let is_read = |wanted: &String| {
                sinks.iter().any(|one| one.sink == *wanted && !one.readers.is_empty())
            };
            let Some(missing) = wanted.iter().find(|wanted| !is_read(wanted)) else {
                return Ok(());
            };
            if began.elapsed() > dealings.patience {
                return Err(DemoError::NotRead { sink: missing.clone() });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until every sink has everything, and prints the results.
    pub(super) async fn show(
        self,
        dealings: Dealings<'_>,
        outcomes: &[Outcome],
    ) -> Result<Hearsay, DemoError> {
        let known = known(dealings.shop, outcomes).await?;
        self.until_settled(dealings).await?;
        let messages = known.iter().map(|order| order.sequences.len()).sum::<usize>();
        let at_least = i64::try_from(messages).unwrap_or(i64::MAX);
        let all_had = show_sinks(&self.sinks().await?, at_least)?;
        let all_received = self.show_receiver(&known).await?;
        let consumed = self.show_consumer(messages, dealings).await?;
        let all_mailed = self.show_mails().await?;
        let is_invoiced_right = self.show_documents(dealings.shop, &known).await?;
        if let Some(receiver) = self.receiver {
            receiver.close(&self.operator).await?;
        }
        let all_heard = all_had && all_received;
        Ok(Hearsay { all_heard, is_invoiced_right, all_mailed, consumed })
    }

    /// Waits while deliveries are in progress, within the demo's patience.
    async fn until_settled(&self, dealings: Dealings<'_>) -> Result<(), DemoError> {
        let began = Instant::now();
        while began.elapsed() <= dealings.patience {
            let sinks = self.sinks().await?;
            if sinks.iter().all(SinkStanding::is_settled) && !self.is_mailing().await? {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    async fn is_mailing(&self) -> Result<bool, ApiError> {
        for state in ["queued", "sending"] {
            if !self.mails(&format!("/v1/mail?limit=1&state={state}")).await?.items.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn sinks(&self) -> Result<Vec<SinkStanding>, ApiError> {
        let doing = "asking how the sinks stand";
        Ok(self.operator.get::<Sinks>(doing, "/v1/relay/sinks").await?.items)
    }

    async fn mails(&self, path: &str) -> Result<Mails, ApiError> {
        self.operator.get("asking for the mails", path).await
    }

    async fn show_receiver(&self, known: &[Known]) -> Result<bool, DemoError> {
        heading("webhooks, to an endpoint of the demo's own")?;
        let Some(receiver) = &self.receiver else {
            say("none: WEBHOOK_INTERNAL_HOSTS does not list 127.0.0.1")?;
            return Ok(true);
        };
        let heard = receiver.heard().await;
        let missed = known.iter().filter(|order| !heard.has(&order.order_id, &order.sequences));
        let missed = missed.map(|order| order.order_id.as_str()).collect::<Vec<_>>();
        let all_well = missed.is_empty() && heard.refused == 0;
        let told = known.len().saturating_sub(missed.len());
        say(format_args!(
            "{} messages, each signed; {} came again; {} were not signed or not readable",
            heard.count(),
            heard.repeats,
            heard.refused,
        ))?;
        say(format_args!(
            "{told} of {} orders told in full, each event after the one before it {}",
            known.len(),
            mark(all_well),
        ))?;
        for order_id in missed.iter().take(MISSED_MAX) {
            say(format_args!("✘ {order_id}: an event is missing, or came too early"))?;
        }
        Ok(all_well)
    }

    /// Runs a consumer of the broker. Returns whether it applied enough events, and the file of the
    /// applied ones.
    async fn show_consumer(
        &self,
        messages: usize,
        dealings: Dealings<'_>,
    ) -> Result<Consumed, DemoError> {
        heading("a consumer of the broker's, killed on its way (examples/consumers/inbox.py)")?;
        let consumer = match self.told_by.consumer.of(self.told_by.kafka_brokers.as_deref()) {
            Ok(consumer) => consumer,
            Err(why) => {
                say(format_args!("none, so its effects (I8) are not shown: {why}"))?;
                return Ok(Consumed { is_enough: true, inbox: None });
            }
        };
        let taken = consumer.take(messages, dealings.patience).await;
        let (taken, is_enough) = taken.map_err(DemoError::Consumer)?;
        let lines = taken.iter().map(String::as_str).collect::<Vec<_>>();
        let inbox = consumer.write_down(&lines).map_err(DemoError::Consumer)?;
        let (count, mark) = (taken.len(), mark(is_enough));
        say(format_args!("took effect of {count} events of {messages} {mark}"))?;
        Ok(Consumed { is_enough, inbox: Some(inbox) })
    }

    async fn show_mails(&self) -> Result<bool, DemoError> {
        heading("mails to customers")?;
        let Some(server) = &self.told_by.mail_server else {
            say("no mail was sent: there is no mail server (MAIL_SERVER)")?;
            return Ok(true);
        };
        let mut counted = BTreeMap::<String, MailCount>::new();
        let mut page = self.mails("/v1/mail?limit=100").await?;
        loop {
            for mail in page.items {
                count_mail(counted.entry(mail.template).or_default(), &mail.state);
            }
            let Some(cursor) = page.next_cursor else { break };
            page = self.mails(&format!("/v1/mail?limit=100&cursor={cursor}")).await?;
        }
        let [made, sent, skipped, parked] = ["made", "sent", "skipped", "parked"];
        say(format_args!("{:<22} {made:>8} {sent:>8} {skipped:>8} {parked:>8}", "template"))?;
        let mut all_mailed = true;
        for (template, MailCount { made, sent, skipped, parked }) in &counted {
            let is_done = sent.saturating_add(*skipped) == *made;
            all_mailed = all_mailed && is_done;
            let mark = mark(is_done);
            say(format_args!(
                "{template:<22} {made:>8} {sent:>8} {skipped:>8} {parked:>8} {mark}"
            ))?;
        }
        match std::env::var("ORDERSAGA_MAILPIT_URL") {
            Ok(url) => say(format_args!("to read them           {url}"))?,
            Err(_none) => say(format_args!("taken by               {server}"))?,
        }
        Ok(all_mailed)
    }

    async fn show_documents(&self, shop: &Ordersaga, known: &[Known]) -> Result<bool, DemoError> {
        heading("invoices and credit notes")?;
        if self.told_by.invoice_seller_name.is_none() {
            say("none: the relay knows no seller (RELAY_INVOICE_SELLER_NAME)")?;
            return Ok(true);
        }
        let issued = stream::iter(known).map(|order| issued(shop, order));
        let issued = issued.buffered(LOOKS_AT_ONCE).try_collect::<Vec<_>>().await?;
        let issued_of = sums(issued.iter().flatten());
        let due_of = sums(known.iter().flat_map(|order| &order.documents));
        let [issued_as, comes_to, must] = ["issued", "they come to", "must come to"];
        say(format_args!("{:<22} {issued_as:>8} {comes_to:>18} {must:>18}", ""))?;
        let all = issued_of.keys().chain(due_of.keys()).copied().collect::<BTreeSet<_>>();
        for key in all {
            let (count, sum) = issued_of.get(&key).copied().unwrap_or_default();
            let (_due, must) = due_of.get(&key).copied().unwrap_or_default();
            let (kind, currency) = key;
            let what = format!("{kind}, {currency}");
            let is_right = mark(issued_of.get(&key) == due_of.get(&key));
            say(format_args!("{what:<22} {count:>8} {sum:>18} {must:>18} {is_right}"))?;
        }
        let wrong = known.iter().zip(&issued).filter(|(order, has)| order.documents != **has);
        let wrong = wrong.map(|(order, _has)| order.order_id.as_str()).collect::<Vec<_>>();
        for order_id in wrong.iter().take(MISSED_MAX) {
            say(format_args!("✘ {order_id}: not invoiced as it was charged or given back"))?;
        }
        Ok(wrong.is_empty())
    }
}

/// The maximum number of orders listed with missing events; more usually have the same cause.
const MISSED_MAX: usize = 10;

/// Documents by kind and currency: their number and total.
type Sums = BTreeMap<(&'static str, &'static str), (u32, Decimal)>;

fn sums<'a>(documents: impl Iterator<Item = &'a Document>) -> Sums {
    let mut sums = Sums::new();
    for Document { kind, total } in documents {
        let (count, sum) = sums.entry((kind.name(), total.currency().code())).or_default();
        *count = count.saturating_add(1);
        *sum = sum.checked_add(total.amount()).unwrap_or(Decimal::MAX);
    }
    sums
}

const fn mark(is_right: bool) -> &'static str {
    if is_right { "✔" } else { "✘" }
}

fn count_mail(count: &mut MailCount, state: &str) {
    count.made = count.made.saturating_add(1);
    let of_state = match state {
        "sent" => &mut count.sent,
        "skipped" => &mut count.skipped,
        "parked" => &mut count.parked,
        _ => return,
    };
    *of_state = of_state.saturating_add(1);
}

fn show_sinks(sinks: &[SinkStanding], at_least: i64) -> Result<bool, DemoError> {
    heading("who has heard of the orders' events")?;
    if sinks.is_empty() {
        say("none: the relay has no sink")?;
        return Ok(true);
    }
    let [delivered, not_wanted, parked, lag] = ["delivered", "not wanted", "parked", "lag"];
    say(format_args!("{:<44} {delivered:>9} {not_wanted:>10} {parked:>6} {lag:>5}", "sink"))?;
    for one in sinks {
        let SinkStanding { sink, delivered, not_wanted, waiting, .. } = one;
        let (parked, mark) = (one.parked(), mark(one.has_had(at_least)));
        say(format_args!(
            "{sink:<44} {delivered:>9} {not_wanted:>10} {parked:>6} {waiting:>5} {mark}"
        ))?;
    }
    Ok(sinks.iter().all(|one| one.has_had(at_least)))
}

/// Mail addresses of the customers, on domains reserved by RFC 2606.
async fn give_addresses(shop: &Ordersaga, plan: &[Planned]) -> Result<(), ApiError> {
    let customers = plan.iter().map(|planned| planned.request.customer_id.as_str());
    let customers = customers.collect::<BTreeSet<_>>();
    let given = stream::iter(customers).map(|customer| give_address(shop, customer));
    given.buffer_unordered(LOOKS_AT_ONCE).try_collect::<()>().await
}

async fn give_address(shop: &Ordersaga, customer: &str) -> Result<(), ApiError> {
    let path = format!("/v1/customers/{customer}/mail");
    let body = json!({ "email": format!("customer-{customer}@shop.example") });
    shop.put("giving a customer an address", &path, &body).await
}

/// The records of each accepted order.
async fn known(shop: &Ordersaga, outcomes: &[Outcome]) -> Result<Vec<Known>, ApiError> {
    let accepted = outcomes.iter().filter_map(|outcome| outcome.accepted.as_ref().ok());
    let ids = accepted.map(|answered| answered.answer.id.as_str()).collect::<BTreeSet<_>>();
    let known = stream::iter(ids).map(|id| known_of(shop, id));
    known.buffered(LOOKS_AT_ONCE).try_collect().await
}

async fn known_of(shop: &Ordersaga, order_id: &str) -> Result<Known, ApiError> {
    let events = events(shop, order_id).await?;
    let sequences = events.iter().map(|event| event.sequence).collect();
    Ok(Known { order_id: order_id.to_owned(), sequences, documents: documents(&events) })
}

/// The documents that an order's events require: an invoice of the captured amount, once the sale
/// is booked, and a credit note for each refund.
fn documents(events: &[Event]) -> Vec<Document> {
    let mut charge = None;
    let mut documents = Vec::new();
    for Event { kind, data, .. } in events {
        let (kind, total) = match kind.as_str() {
            "payment.captured" => {
                charge = amount(data);
                continue;
            }
            "ledger.revenue-recognised" => (DocumentKind::Invoice, charge),
            "order.refund-succeeded" => (DocumentKind::CreditNote, amount(data)),
            _ => continue,
        };
        documents.extend(total.map(|total| Document { kind, total }));
    }
    documents
}

fn amount(data: &Value) -> Option<Money> {
    Money::deserialize(data.get("amount")?).ok()
}

/// The documents issued for an order.
async fn issued(shop: &Ordersaga, order: &Known) -> Result<Vec<Document>, ApiError> {
    let path = format!("/v1/orders/{}/invoices", order.order_id);
    shop.get("asking for an order's invoices", &path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str) -> Value {
        json!({ "amount": amount, "currency": "GBP" })
    }

    fn document(kind: DocumentKind, amount: &str) -> Document {
        Document { kind, total: Money::deserialize(money(amount)).unwrap() }
    }

    #[test]
    fn a_sale_is_invoiced_as_it_was_charged_and_each_refund_credited() {
        let events = |kinds: &[(&str, &str)]| {
            let event = |(kind, amount): &(&str, &str)| {
                let data = json!({ "amount": money(amount) });
                json!({ "sequence": 1, "type": kind, "data": data,
                    "occurred_at": "2026-01-01T00:00:00Z" })
            };
            let events = kinds.iter().map(event).collect();
            serde_json::from_value::<Vec<Event>>(Value::Array(events)).unwrap()
        };
        let (captured, sold) = (("payment.captured", "9.50"), ("ledger.revenue-recognised", "0"));
        assert!(documents(&events(&[captured])).is_empty(), "nothing is sold yet");
        let refunds = [("order.refund-succeeded", "1.00"), ("order.refund-succeeded", "0.50")];
        let all = [captured, sold, refunds[0], refunds[1]];
        let (invoice, credit) = (DocumentKind::Invoice, DocumentKind::CreditNote);
        let wanted = [(invoice, "9.50"), (credit, "1.00"), (credit, "0.50")];
        let wanted = wanted.map(|(kind, amount)| document(kind, amount));
        assert_eq!(documents(&events(&all)), wanted);
        let credited = sums(wanted.iter()).get(&(credit.name(), "GBP")).copied();
        assert_eq!(credited, Some((2, Decimal::new(150, 2))));
    }

    #[test]
    fn a_sink_has_had_all_if_nothing_waits_and_nothing_is_parked() {
        let sink = |waiting: i64, refused: i64, retried: i64, delivered: i64| SinkStanding {
            sink: "kafka".to_owned(),
            waiting,
            delivered,
            not_wanted: 3,
            refused,
            retried,
            behind: 0,
            readers: Vec::new(),
        };
        assert!(sink(0, 0, 0, 7).has_had(10));
        assert!(!sink(0, 0, 0, 6).has_had(10));
        assert!(!sink(1, 0, 0, 9).has_had(10));
        assert!(!sink(0, 1, 0, 9).has_had(10));
        assert!(!sink(0, 0, 1, 9).has_had(10));
        assert!(sink(0, 1, 0, 9).is_settled(), "what is refused waits for a person");
        assert!(!sink(0, 0, 1, 9).is_settled(), "what is tried again is waited for");
    }
}
