//! A shop with a mail server, recorded orders, and the states of their mails.

use std::sync::Arc;
use std::time::Duration;

use domain::event::{
    AwaitingCustomer, Cancelled, Delivered, OrderEvent, Parcelled, PaymentMoved, RefundSucceeded,
    Refused, ReviewNeeded, StockLines, Unwinding,
};
use domain::{CustomerId, Ending, MailPolicy, MailTemplate, Order, OrderId, Quantity, Rejection};
use relay::Message;
use relay::mail::{
    Channel, Encryption, Looked, MailSink, Sender, Sending, Server, Shop, Smtp, Templates,
    TextMessages,
};
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::server::MailServer;

pub(crate) const EMAIL: &str = "ada@example.org";

/// The tested fields of a notification.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) template: String,
    pub(crate) state: String,
    pub(crate) deferrals: i32,
    /// How often it may have been sent.
    pub(crate) transmissions: i32,
    pub(crate) why: Option<String>,
    pub(crate) locale: Option<String>,
}

/// A shop that sends mails.
pub(crate) struct Post {
    pub(crate) db: PgPool,
    pub(crate) sink: MailSink,
    pub(crate) sender: Sender,
    pub(crate) server: MailServer,
}

/// A sender with only the relay's rights, for the mail server on this port.
pub(crate) fn sender_to(
    db: &PgPool,
    port: u16,
    text_messages: Option<Arc<dyn TextMessages>>,
) -> Sender {
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port,
        encryption: Encryption::Off,
        ca: None,
        credentials: None,
        patience: Duration::from_secs(20),
    };
    sender_by(db, Arc::new(Smtp::new(server).unwrap()), text_messages)
}

/// A sender with only the relay's rights, for this mail server.
pub(crate) fn sender_by(
    db: &PgPool,
    mails: Arc<dyn relay::mail::MailServer>,
    text_messages: Option<Arc<dyn TextMessages>>,
) -> Sender {
    let shop = Shop {
        name: "The Shop".to_owned(),
        order_url: Some("https://shop.example/orders/{order_id}".to_owned()),
        api_url: Some("https://api.example".to_owned()),
        ..Shop::default()
    };
    let with_sms: &[MailTemplate] =
        if text_messages.is_some() { &[MailTemplate::Shipped] } else { &[] };
    let templates = Templates::load(None, "en", shop, with_sms).unwrap();
    let sending = Sending {
        from: "The Shop <orders@shop.example>".parse().unwrap(),
        reply_to: None,
        domain: "shop.example".to_owned(),
        policy_of_waits: MailPolicy::AtMostOnce,
        locales: vec![("DE".to_owned(), "de".to_owned())],
        api_url: Some("https://api.example".to_owned()),
        connections: 1,
        mails,
        text_messages,
    };
    Sender::new(testkit::as_role(db, "ordersaga_relay"), Arc::new(templates), sending)
}

pub(crate) fn sink(db: &PgPool, text_messages: &[MailTemplate]) -> MailSink {
    MailSink::new(
        testkit::as_role(db, "ordersaga_relay"),
        "shop.example".to_owned(),
        vec![MailTemplate::Shipped, MailTemplate::BackInStock],
        text_messages.to_vec(),
    )
}

impl Post {
    pub(crate) async fn open(db: PgPool) -> Self {
        let server = MailServer::start().await;
        let sender = sender_to(&db, server.port, None);
        let (sink, post) = (sink(&db, &[]), db);
        Self { db: post, sink, sender, server }
    }

    /// An order of Ada's with these events.
    pub(crate) async fn order(&self, events: &[OrderEvent]) -> Uuid {
        let order_id = Uuid::now_v7();
        place(&self.db, order_id, "ada").await;
        self.happen(order_id, events).await;
        order_id
    }

    pub(crate) async fn happen(&self, order_id: Uuid, events: &[OrderEvent]) {
        for event in events {
            sqlx::query!(
                "select orders.record($1, $2, $3)",
                order_id,
                event.event_type().name(),
                event.data().unwrap(),
            )
            .fetch_one(&self.db)
            .await
            .unwrap();
        }
    }

    /// Sets Ada's address and name.
    pub(crate) async fn ada_is(&self, email: Option<&str>, name: Option<&str>) {
        sqlx::query!(
            "insert into customers.customers (customer_id, email, name) values ('ada', $1, $2)
             on conflict (customer_id) do update set email = excluded.email, name = excluded.name",
            email,
            name,
        )
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Sets Ada's mail preferences.
    pub(crate) async fn ada_wants(&self, locale: Option<&str>, switched_off: &[&str]) {
        let switched_off: Vec<_> = switched_off.iter().map(|&name| name.to_owned()).collect();
        sqlx::query!(
            "insert into customers.mail_preferences (customer_id, locale, switched_off)
             values ('ada', $1, $2)",
            locale,
            &switched_off,
        )
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Delivers everything in the outbox to the sink.
    pub(crate) async fn tell_the_sink(&self) {
        use relay::{Sink as _, Verdict};
        for verdict in self.sink.deliver(&messages(&self.db).await).await {
            assert!(matches!(verdict, Verdict::Delivered | Verdict::NotWanted), "{verdict:?}");
        }
    }

    /// An order of Ada's with these events, delivered to the sink.
    pub(crate) async fn told(&self, events: &[OrderEvent]) -> Uuid {
        let order_id = self.order(events).await;
        self.tell_the_sink().await;
        order_id
    }

    pub(crate) async fn send_next(&self) -> Looked {
        self.sender.send_next(Channel::Mail).await.unwrap()
    }

    /// Sends until nothing is due.
    pub(crate) async fn send_all(&self) {
        while self.send_next().await == Looked::Dealt {}
    }

    /// Makes all waiting times expire.
    pub(crate) async fn time_passes(&self) {
        sqlx::query!("update mail.notifications set next_try_at = now()")
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// The notifications, in order.
    pub(crate) async fn notifications(&self) -> Vec<Told> {
        sqlx::query_as!(
            Told,
            "select template, state, deferrals, transmissions, why, locale from mail.notifications
             order by notification_id"
        )
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    /// The only notification.
    pub(crate) async fn only(&self) -> Told {
        let mut told = self.notifications().await;
        assert_eq!(told.len(), 1, "{told:?}");
        told.pop().unwrap()
    }

    /// The states of the notifications, in order.
    pub(crate) async fn states(&self) -> Vec<String> {
        self.notifications().await.into_iter().map(|told| told.state).collect()
    }

    /// Asserts that the relay has stored none of these texts.
    pub(crate) async fn assert_nothing_kept_of(&self, personal: &[&str]) {
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(one)::text as "row!" from mail.notifications as one
               union all select to_jsonb(one)::text from outbox.messages as one"#
        );
        let rows = rows.fetch_all(&self.db).await.unwrap();
        for text in personal {
            assert!(rows.iter().all(|row| !row.contains(text)), "{text} is in {rows:?}");
        }
    }
}

/// The messages of the outbox, in order.
pub(crate) async fn messages(db: &PgPool) -> Vec<Message> {
    let rows = sqlx::query!(
        r#"select position, id as "id!", aggregatetype, aggregateid, sequence, type as event_type,
               payload::text as "payload!", created_at
           from outbox.messages order by position"#
    );
    let rows = rows.fetch_all(db).await.unwrap();
    rows.into_iter()
        .map(|row| Message {
            position: row.position,
            id: row.id,
            aggregate_type: row.aggregatetype,
            aggregate_id: row.aggregateid,
            sequence: row.sequence,
            event_type: row.event_type,
            payload: RawValue::from_string(row.payload).unwrap(),
            created_at: row.created_at,
        })
        .collect()
}

/// Records an order of this customer.
pub(crate) async fn place(db: &PgPool, order_id: Uuid, customer: &str) {
    sqlx::query!(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency)
         values ('85123A', 'WHITE HANGING HEART T-LIGHT HOLDER', 2.55, 1.02, 'GBP')
         on conflict do nothing"
    )
    .execute(db)
    .await
    .unwrap();
    let basket = [(testkit::priced("85123A", "2.55", 40), Quantity::new(6).unwrap())];
    let order = Order {
        customer_id: CustomerId::parse(customer).unwrap(),
        ..testkit::order_of(OrderId::of(order_id), &basket)
    };
    let placed = serde_json::to_value(order.placed()).unwrap();
    let launch_after = PgInterval { months: 0, days: 1, microseconds: 0 };
    testkit::place(db, &order, "v1:test", &placed, None, launch_after).await;
}

pub(crate) fn reserved() -> OrderEvent {
    OrderEvent::StockReserved(StockLines { lines: Vec::new() })
}

pub(crate) fn authorised() -> OrderEvent {
    OrderEvent::PaymentAuthorised(moved())
}

pub(crate) fn voided() -> OrderEvent {
    OrderEvent::PaymentVoided(moved())
}

fn moved() -> PaymentMoved {
    PaymentMoved { amount: testkit::pounds("23.10"), provider_reference: "pay_1".to_owned() }
}

pub(crate) fn awaiting_customer() -> OrderEvent {
    let PaymentMoved { amount, provider_reference } = moved();
    let until = "2026-01-02T03:19:05Z".parse().unwrap();
    OrderEvent::PaymentAwaitingCustomer(AwaitingCustomer { amount, provider_reference, until })
}

pub(crate) fn review_needed() -> OrderEvent {
    OrderEvent::ReviewNeeded(ReviewNeeded { until: "2026-01-02T03:19:05Z".parse().unwrap() })
}

pub(crate) fn shipped() -> OrderEvent {
    OrderEvent::OrderShipped(Parcelled { tracking: "T-1".to_owned() })
}

pub(crate) fn delivered() -> OrderEvent {
    OrderEvent::OrderDelivered(Delivered {
        tracking: "T-1".to_owned(),
        delivered_at: "2026-01-05T14:05:00Z".parse().unwrap(),
        reported_by: "web-shop".to_owned(),
    })
}

pub(crate) fn called_back() -> OrderEvent {
    OrderEvent::ShipmentCancelled(Parcelled { tracking: "T-1".to_owned() })
}

pub(crate) fn unwinding() -> OrderEvent {
    let reason = "ordered twice".to_owned();
    OrderEvent::OrderUnwinding(Unwinding { ending: Ending::Cancelled { reason } })
}

pub(crate) fn cancelled() -> OrderEvent {
    OrderEvent::OrderCancelled(Cancelled { reason: "ordered twice".to_owned() })
}

pub(crate) fn declined() -> OrderEvent {
    OrderEvent::PaymentDeclined(refused())
}

pub(crate) fn rejected() -> OrderEvent {
    OrderEvent::OrderRejected(refused())
}

fn refused() -> Refused {
    Refused { rejection: Rejection::CardDeclined { decline_code: "do_not_honour".to_owned() } }
}

pub(crate) fn refunded() -> OrderEvent {
    let refund = json!({
        "number": 1,
        "amount": testkit::pounds("5.10"),
        "left": testkit::pounds("18.00"),
        "provider_reference": "re_1",
    });
    OrderEvent::RefundSucceeded(serde_json::from_value::<RefundSucceeded>(refund).unwrap())
}
