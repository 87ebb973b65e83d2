//! Whatever text a provider, a carrier or a person sends: an order comes to its end, and its record
//! contains only valid text.

use activities::orders;
use activities::payment::lists::ProviderLists;
use activities::payment::port::{
    Capabilities, Payment, PaymentId, PaymentProvider, ProviderError, Refund,
};
use activities::payment::sandbox::SandboxProvider;
use activities::payment::{authorise, capture};
use activities::shipping::port::{self, Booking, Carrier, CarrierError, Consignment, ShipmentId};
use activities::shipping::sandbox::SandboxCarrier;
use activities::shipping::ship;
use async_trait::async_trait;
use domain::{Charge, Decision, Ending, Money, OrderStatus, Rejection, Shipment, StepName, Terms};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};

use crate::support::{
    RUN, Shop, another_worker, cancelled, invalid_answer, order, paid_with, refusal,
};

/// Ids that cannot be stored, or sent back unchanged.
const NO_IDS: [fn(String) -> String; 4] =
    [|_| String::new(), |id| format!("{id}\u{0}"), |id| format!("{id} "), |id| id.repeat(100)];

/// Changes the texts of a payment.
type Retold = fn(Payment) -> Payment;

/// The sandbox provider, with other texts in its answers.
struct Provider<'shop> {
    sandbox: &'shop SandboxProvider,
    id: fn(String) -> String,
    payment: Retold,
}

impl<'shop> Provider<'shop> {
    fn of(shop: &'shop Shop) -> Self {
        Self { sandbox: &shop.provider, id: |id| id, payment: |payment| payment }
    }
}

#[async_trait]
impl PaymentProvider for Provider<'_> {
    fn capabilities(&self) -> Capabilities {
        self.sandbox.capabilities()
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        self.sandbox.open(charge).await.map(|PaymentId(id)| PaymentId((self.id)(id)))
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.sandbox.authorise(payment).await.map(self.payment)
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        self.sandbox.capture(payment, amount).await.map(self.payment)
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.sandbox.void(payment).await.map(self.payment)
    }

    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        self.sandbox.refund(payment, refund_key, amount).await.map(self.payment)
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.sandbox.look_up(payment).await.map(self.payment)
    }

    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError> {
        self.sandbox.look_up_refund(payment, refund_key).await
    }

    fn lists(&self) -> &dyn ProviderLists {
        self.sandbox.lists()
    }
}

/// The sandbox carrier, with other texts in its answers.
struct Courier<'shop> {
    carrier: &'shop SandboxCarrier,
    id: fn(String) -> String,
    tracking: fn(String) -> String,
    /// Why it refuses to sell a label, if so.
    refuses: Option<&'static str>,
}

impl<'shop> Courier<'shop> {
    fn of(shop: &'shop Shop) -> Self {
        Self { carrier: &shop.carrier, id: |id| id, tracking: |number| number, refuses: None }
    }

    fn told(&self, consignment: Consignment) -> Consignment {
        Consignment { tracking: consignment.tracking.map(self.tracking), ..consignment }
    }
}

#[async_trait]
impl Carrier for Courier<'_> {
    fn capabilities(&self) -> port::Capabilities {
        self.carrier.capabilities()
    }

    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError> {
        self.carrier.draft(booking).await.map(|ShipmentId(id)| ShipmentId((self.id)(id)))
    }

    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        if let Some(why) = self.refuses {
            return Err(CarrierError::Undeliverable { why: why.to_owned() });
        }
        self.carrier.purchase(shipment).await.map(|bought| self.told(bought))
    }

    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.carrier.cancel(shipment).await.map(|cancelled| self.told(cancelled))
    }

    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.carrier.look_up(shipment).await.map(|found| self.told(found))
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decline_is_on_record_whatever_characters_its_code_has(db: PgPool) {
    let shop = Shop::on(db);
    let declines: [(Retold, String); 3] = [
        (|it| declined_as(it, "no\u{0}funds\r\n"), "no funds".to_owned()),
        (|it| declined_as(it, &"x".repeat(60_000)), "x".repeat(100)),
        (|it| declined_as(it, "\u{0}\u{1b}"), "unspecified".to_owned()),
    ];
    for (number, (payment, decline_code)) in (1..).zip(declines) {
        let order = paid_with(order(number), "tok_declined");
        shop.places(&order).await;
        let provider = Provider { payment, ..Provider::of(&shop) };
        let expected = Rejection::CardDeclined { decline_code };
        for _ in 0..2 {
            let key = order.key(StepName::AuthorisePayment);
            assert_eq!(refusal(authorise(&shop.db, &provider, key).await), expected);
        }
        assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.declined"]);
    }
}

fn declined_as(payment: Payment, code: &str) -> Payment {
    Payment { decline_code: Some(code.to_owned()), ..payment }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payments_id_that_cannot_be_stored_makes_no_sense_and_a_good_one_is_paid(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let (first, second) =
        (order.key(StepName::AuthorisePayment), order.key(StepName::CapturePayment));
    for id in NO_IDS {
        let provider = Provider { id, ..Provider::of(&shop) };
        invalid_answer(authorise(&shop.db, &provider, first).await);
    }
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
    let provider = Provider::of(&shop);
    authorise(&shop.db, &provider, first).await.unwrap();
    capture(&shop.db, &provider, second).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "paid");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_is_sent_to_no_link_that_is_none(db: PgPool) {
    let shop = Shop::on(db);
    let mut order = paid_with(order(1), "tok_needs_customer");
    order.terms = Terms { approval_seconds: 900, ..order.terms };
    shop.places(&order).await;
    let key = order.key(StepName::AuthorisePayment);
    let links: [fn(Payment) -> Payment; 4] = [
        |it| approved_at(it, ""),
        |it| approved_at(it, "https://bank.example/\u{0}"),
        |it| approved_at(it, "https://bank.example/ a"),
        |it| approved_at(it, &format!("https://bank.example/{}", "x".repeat(10_000))),
    ];
    for payment in links {
        let provider = Provider { payment, ..Provider::of(&shop) };
        invalid_answer(authorise(&shop.db, &provider, key).await);
    }
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
    authorise(&shop.db, &Provider::of(&shop), key).await.unwrap();
    let events = ["order.placed", "payment.awaiting-customer"];
    assert_eq!(shop.events_of(&order).await, events);
}

fn approved_at(mut payment: Payment, url: &str) -> Payment {
    if let Some(approval) = &mut payment.approval {
        url.clone_into(&mut approval.url);
    }
    payment
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_tracking_number_is_on_record_whatever_characters_it_has(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let key = order.key(StepName::ShipOrder);
    let nameless = Courier { tracking: |_| "\u{0}\r\n".to_owned(), ..Courier::of(&shop) };
    invalid_answer(ship(&shop.db, &another_worker(), &nameless, key).await);
    let courier = Courier { tracking: |_| "GB\u{0}12\t34\n".to_owned(), ..Courier::of(&shop) };
    let shipped = ship(&shop.db, &another_worker(), &courier, key).await.unwrap();
    assert_eq!(shipped, Shipment { tracking: "GB 12 34".to_owned() });
    assert_eq!(shop.ships(&order).await.unwrap(), shipped);
    let on_record = sqlx::query_scalar!("select tracking from orders.orders");
    assert_eq!(on_record.fetch_one(&shop.db).await.unwrap(), Some(shipped.tracking));
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shipments_id_that_cannot_be_stored_makes_no_sense_and_a_good_one_is_shipped(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let key = order.key(StepName::ShipOrder);
    for id in NO_IDS {
        let courier = Courier { id, ..Courier::of(&shop) };
        invalid_answer(ship(&shop.db, &another_worker(), &courier, key).await);
    }
    shop.ships(&order).await.unwrap();
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_carriers_reason_is_on_record_whatever_characters_it_has(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let key = order.key(StepName::ShipOrder);
    let refuses = Some("no\u{0}road\nleads there");
    let courier = Courier { refuses, ..Courier::of(&shop) };
    let country = order.ship_to.country;
    let why = "no road leads there".to_owned();
    let refused = ship(&shop.db, &another_worker(), &courier, key).await;
    assert_eq!(refusal(refused), Rejection::AddressUndeliverable { country, why });
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "shipment.refused");
}

/// As sent by a release that did not validate texts.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_note_that_is_under_way_with_a_text_no_database_keeps_is_taken(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let order_id = order.order_id;
    let noted = UnwindingNote { order_id, ending: cancelled("a\u{0}b") };
    let ending: Ending = orders::note_unwinding(&shop.db, &noted, RUN).await.unwrap();
    assert_eq!(ending, cancelled("a b"));
    let (step, decisions) = (StepName::CapturePayment, vec![Decision::Retry]);
    let (run_id, why) = (RUN.to_owned(), "a\u{0}b".to_owned());
    let needed = AttentionNote {
        order_id,
        run_id,
        number: 1,
        step,
        undoing: true,
        why: why.clone(),
        decisions,
    };
    assert_eq!(orders::note_attention(&shop.db, &needed).await.unwrap(), 1);
    let (decision, by) = (Decision::Retry, "E\u{0}va".to_owned());
    let decided = ResolvedNote { order_id, step, occurrence: 1, decision, by, why };
    orders::note_resolved(&shop.db, &decided).await.unwrap();
    let ended = EndNote { order_id, status: cancelled("c\u{0}d").into() };
    let status = orders::note_end(&shop.db, &ended).await.unwrap();
    assert_eq!(status, OrderStatus::Cancelled { reason: "c d".to_owned() });
    let told = sqlx::query_scalar!(
        r#"select data as "data!" from orders.order_events where sequence > 1 order by sequence"#
    );
    let told: Vec<Value> = told.fetch_all(&shop.db).await.unwrap();
    let words = |event: usize, field: &str| told[event][field].clone();
    assert_eq!(told[0]["ending"]["reason"], json!("a b"));
    assert_eq!([words(1, "why"), words(2, "by"), words(2, "why")], ["a b", "E va", "a b"]);
    assert_eq!(words(3, "reason"), "c d");
}
