//! A customer's mails and invoices of an order: produced by sinks of the relay from the order's
//! messages, outside its workflow.
//!
//! For every cell, the messages are delivered repeatedly, interrupted after each of them, as by a
//! relay that dies between an effect and recording it. Afterwards each mail and document that the
//! order's end requires exists once. Faults of the sinks themselves are in [`crate::sinks`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Parser;
use domain::{MailPolicy, MailTemplate, OrderId};
use relay::invoices::{InvoiceArgs, Invoices};
use relay::mail::{
    Channel, Encryption, Looked, MailSink, Sender, Sending, Server, Shop as Told, Smtp, Templates,
};
use relay::{Message, Sink, Verdict};
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::{Mutex, OnceCell};

use crate::cell::Course;
use crate::mail_server::MailServer;
use crate::support::Shop;

/// The domain of all cells' mails except those of the sinks' cells.
const DOMAIN: &str = "shop.example";

/// The sinks, with only the relay's rights.
struct Sinks {
    mail: MailSink,
    /// Issue an invoice on shipment, or on payment.
    at_shipment: Invoices,
    at_payment: Invoices,
    /// One sender at a time, so that an order's mails are settled once nothing is due.
    sender: Mutex<Sender>,
    server: MailServer,
}

static SINKS: OnceCell<Sinks> = OnceCell::const_new();

async fn sinks(shop: &Shop) -> &'static Sinks {
    let open = || async {
        sqlx::query(
            "insert into customers.mail_preferences (customer_id, email)
             values ('17850', 'ada@example.org') on conflict do nothing",
        )
        .execute(&shop.db)
        .await
        .unwrap();
        let (db, server) = (as_relay(&shop.db), MailServer::start().await);
        Sinks {
            mail: mail_sink(db.clone(), DOMAIN),
            at_shipment: invoices(db.clone(), "shipment"),
            at_payment: invoices(db, "payment"),
            sender: Mutex::new(sender(&shop.db, server.port, DOMAIN, A_MINUTE)),
            server,
        }
    };
    SINKS.get_or_init(open).await
}

/// The database, with only the relay's rights.
pub fn as_relay(db: &PgPool) -> PgPool {
    testkit::as_role(db, "ordersaga_relay")
}

/// The sink of mails. One kind of mail may be sent at most once.
pub fn mail_sink(db: PgPool, domain: &str) -> MailSink {
    MailSink::new(db, domain.to_owned(), vec![MailTemplate::Shipped], vec![])
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    invoices: InvoiceArgs,
}

/// The sink of invoices of a British shop, which issues them at this point.
pub fn invoices(db: PgPool, at: &str) -> Invoices {
    let at = format!("--invoice-at={at}");
    let settings = [
        "relay",
        "--invoice-seller-name=The Shop",
        "--invoice-seller-street=1 High Street",
        "--invoice-seller-city=London",
        "--invoice-seller-postal-code=SW1Y 4JH",
        "--invoice-seller-country=GB",
        "--invoice-seller-vat-id=GB123456789",
        at.as_str(),
    ];
    let settings = Program::try_parse_from(settings).unwrap().invoices;
    Invoices::open(&settings, db).unwrap().unwrap()
}

/// For a mail server that answers, however busy the machine is.
pub const A_MINUTE: Duration = Duration::from_mins(1);

/// Sends to the mail server on this port, and waits this long for each of its answers.
pub fn sender(db: &PgPool, port: u16, domain: &str, patience: Duration) -> Sender {
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port,
        encryption: Encryption::Off,
        ca: None,
        credentials: None,
        patience,
    };
    let shop = Told { name: "The Shop".to_owned(), ..Told::default() };
    let templates = Templates::load(None, "en", shop, &[]).unwrap();
    let sending = Sending {
        from: "The Shop <orders@shop.example>".parse().unwrap(),
        reply_to: None,
        domain: domain.to_owned(),
        policy_of_waits: MailPolicy::AtMostOnce,
        locales: vec![],
        api_url: None,
        connections: 1,
        mails: Arc::new(Smtp::new(server).unwrap()),
        text_messages: None,
    };
    Sender::new(as_relay(db), Arc::new(templates), sending)
}

/// Sends until nothing is due, or the server accepts nothing, or the database fails.
pub async fn send_all(sender: &Sender) -> Result<Looked, sqlx::Error> {
    loop {
        let looked = Box::pin(sender.send_next(Channel::Mail)).await?;
        if looked != Looked::Dealt {
            return Ok(looked);
        }
    }
}

/// An order's messages, in order.
pub async fn messages(db: &PgPool, order: OrderId) -> Vec<Message> {
    type Row = (i64, String, String, String, i32, String, String, DateTime<Utc>);
    let rows: Vec<Row> = sqlx::query_as(
        "select position, id, aggregatetype, aggregateid, sequence, type, payload::text, created_at
         from outbox.messages where aggregateid = $1 order by position",
    )
    .bind(order.to_string())
    .fetch_all(db)
    .await
    .unwrap();
    let messages = rows.into_iter().map(
        |(
            position,
            id,
            aggregate_type,
            aggregate_id,
            sequence,
            event_type,
            payload,
            created_at,
        )| {
            let payload = RawValue::from_string(payload).unwrap();
            Message {
                position,
                id,
                aggregate_type,
                aggregate_id,
                sequence,
                event_type,
                payload,
                created_at,
            }
        },
    );
    messages.collect()
}

/// What is wrong with the mails and documents of a cell's ended order, if anything. Invoices of
/// orders that unwind are issued on payment, so that there is something to reverse.
pub async fn complaint(shop: &Shop, order: OrderId, course: Course) -> Option<String> {
    let sinks = sinks(shop).await;
    let invoices = if course.unwinds() { &sinks.at_payment } else { &sinks.at_shipment };
    let messages = messages(&shop.db, order).await;
    let all: [&dyn Sink; 2] = [&sinks.mail, invoices];
    for sink in all {
        if let Some(verdict) = hears(sink, &messages).await {
            return Some(format!("a sink answers {verdict:?}"));
        }
    }
    let sender = sinks.sender.lock().await;
    let looked = send_all(&sender).await.unwrap();
    drop(sender);
    if looked != Looked::Nothing {
        return Some(format!("the mails are not sent: {looked:?}"));
    }
    let end = End::of(shop, order).await;
    let has = |event: &str| {
        let wanted = format!("ordersaga.{event}.v1");
        messages.iter().any(|message| message.event_type == wanted)
    };
    let is_invoiced =
        has("ledger.revenue-recognised") || course.unwinds() && has("payment.captured");
    match mails_amiss(shop, order, &end).await {
        Some(complaint) => Some(complaint),
        None => documents_amiss(shop, order, &end, is_invoiced).await,
    }
}

/// Delivers the messages, interrupted after each of them and repeated from the start. Returns the
/// verdict on a message that the sink does not accept, if any.
async fn hears(sink: &dyn Sink, messages: &[Message]) -> Option<Verdict> {
    for cut in 1..=messages.len() {
        let verdicts = sink.deliver(&messages[..cut]).await;
        let is_taken =
            |verdict: &Verdict| matches!(verdict, Verdict::Delivered | Verdict::NotWanted);
        if let Some(verdict) = verdicts.into_iter().find(|verdict| !is_taken(verdict)) {
            return Some(verdict);
        }
    }
    None
}

/// How an order has ended, as far as its customer is informed.
#[derive(sqlx::FromRow)]
struct End {
    status: String,
    /// The captured amount, and the amounts refunded.
    captured: Decimal,
    given_back: Decimal,
    refunds: i64,
}

impl End {
    async fn of(shop: &Shop, order: OrderId) -> Self {
        sqlx::query_as(
            "select status, (
                    select coalesce(sum(captured), 0) from payments.charges where order_id = $1
                ) as captured,
                coalesce(sum(amount), 0) as given_back, count(number) as refunds
             from orders.orders
             left join payments.refund_requests as refund
                 on refund.order_id = orders.order_id and refund.state = 'succeeded'
             where orders.order_id = $1 group by status",
        )
        .bind(order.uuid())
        .fetch_one(&shop.db)
        .await
        .unwrap()
    }

    fn is_sold(&self) -> bool {
        self.status == "completed"
    }
}

/// Checks that the mails of the order's end were sent, and none that no longer holds.
async fn mails_amiss(shop: &Shop, order: OrderId, end: &End) -> Option<String> {
    let made: Vec<(String, String)> = sqlx::query_as(
        "select template, state from mail.notifications where order_id = $1
         order by notification_id",
    )
    .bind(order.uuid())
    .fetch_all(&shop.db)
    .await
    .unwrap();
    let mut expected = match end.status.as_str() {
        "completed" => vec!["confirmed", "shipped"],
        "cancelled" => vec!["cancelled"],
        _ => vec!["rejected"],
    };
    expected.extend((0..end.refunds).map(|_refund| "refunded"));
    let of_state = |wanted: &str| {
        let found = made.iter().filter(|(_, state)| state == wanted);
        found.map(|(template, _)| template.as_str()).collect::<Vec<_>>()
    };
    let (sent, skipped) = (of_state("sent"), of_state("skipped"));
    let is_right = sent == expected && sent.len() + skipped.len() == made.len();
    (!is_right).then(|| format!("mails {made:?}, not {expected:?}"))
}

/// A completed order has one invoice of its charge, and one credit note for each refund; an order
/// that was invoiced and reversed has one of each, and any other has none.
async fn documents_amiss(
    shop: &Shop,
    order: OrderId,
    end: &End,
    is_invoiced: bool,
) -> Option<String> {
    let issued = documents(&shop.db, order).await;
    let of_kind = |wanted: &str| {
        let found = issued.iter().filter(|(kind, _)| kind == wanted).map(|(_, total)| *total);
        let totals: Vec<Decimal> = found.collect();
        (i64::try_from(totals.len()).unwrap(), totals.into_iter().sum::<Decimal>())
    };
    let nothing = (0, Decimal::ZERO);
    let [sold, given_back] = match (end.is_sold(), is_invoiced) {
        (true, _) => [(1, end.captured), (end.refunds, end.given_back)],
        (false, true) => [(1, end.captured), (1, end.captured)],
        (false, false) => [nothing, nothing],
    };
    let is_right = of_kind("invoice") == sold && of_kind("credit-note") == given_back;
    (!is_right).then(|| {
        format!("issued {issued:?}, not an invoice of {sold:?}, credit notes of {given_back:?}")
    })
}

/// Kind and total of an order's documents.
pub async fn documents(db: &PgPool, order: OrderId) -> Vec<(String, Decimal)> {
    sqlx::query_as(
        "select kind, total from invoices.invoices where order_id = $1 order by invoice_id",
    )
    .bind(order.uuid())
    .fetch_all(db)
    .await
    .unwrap()
}

/// Checks over all cells: every mail is at the mail server once, and no series has a gap.
pub async fn complaints(shop: &Shop) -> Vec<String> {
    let mut arrived: BTreeMap<String, i64> = BTreeMap::new();
    for id in sinks(shop).await.server.kept().iter().flat_map(|mail| mail.headers("Message-ID")) {
        *arrived.entry(id).or_default() += 1;
    }
    let sent: Vec<String> = sqlx::query_scalar(
        "select format('<%s>', message_id) from mail.notifications
         where state = 'sent' and message_id like '%@' || $1",
    )
    .bind(DOMAIN)
    .fetch_all(&shop.db)
    .await
    .unwrap();
    let expected: BTreeMap<String, i64> = sent.into_iter().map(|id| (id, 1)).collect();
    let all = arrived.iter().chain(&expected).map(|(id, _)| id);
    let differ = all.filter(|id| arrived.get(*id) != expected.get(*id));
    let say = |what: &dyn Display, why: &str| format!("{what} {why}");
    let mut complaints: Vec<_> = differ.map(|id| say(id, "has not come once")).collect();
    let with_gaps: Vec<String> = sqlx::query_scalar(
        "select prefix from invoices.series
         left join invoices.invoices using (series_id)
         group by series_id, prefix, next_number
         having (count(serial), min(serial), max(serial))
             is distinct from (next_number - 1, 1::bigint, next_number - 1)",
    )
    .fetch_all(&shop.db)
    .await
    .unwrap();
    complaints.extend(with_gaps.iter().map(|prefix| say(prefix, "has a gap in its numbers")));
    complaints
}
