//! Invoices and credit notes: each is issued once, for the amount charged or refunded, under
//! consecutive numbers, despite faults and concurrent processes; and none is ever changed.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]
#![expect(clippy::arithmetic_side_effects, reason = "a test counts little")]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Parser as _;
use domain::refund::{Ask, Claimed, Left, Parts};
use domain::{
    AddressId, CustomerId, Discount, DiscountKind, Money, Order, OrderId, PriceList, PricedSku,
    Quantity,
};
use relay::invoices::{InvoiceArgs, Invoices};
use relay::{Message, Sink as _, Verdict};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, PgPool};
use testkit::pounds;
use uuid::Uuid;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    invoices: InvoiceArgs,
}

/// The settings of a British shop, with these in addition.
fn settings(more: &[&str]) -> InvoiceArgs {
    let seller = [
        "relay",
        "--invoice-seller-name=The Shop",
        "--invoice-seller-street=1 High Street",
        "--invoice-seller-city=London",
        "--invoice-seller-postal-code=SW1Y 4JH",
        "--invoice-seller-country=GB",
        "--invoice-seller-vat-id=GB123456789",
    ];
    Program::try_parse_from(seller.iter().chain(more)).unwrap().invoices
}

/// A shop with recorded orders, and its sink of invoices.
struct Shop {
    owner: PgPool,
    /// With only the relay's rights.
    relay: PgPool,
    sink: Invoices,
}

impl Shop {
    fn of(owner: PgPool) -> Self {
        Self::with(owner, &[])
    }

    fn with(owner: PgPool, more: &[&str]) -> Self {
        let relay = testkit::as_role(&owner, "ordersaga_relay");
        let sink = Invoices::open(&settings(more), relay.clone()).unwrap().unwrap();
        Self { owner, relay, sink }
    }

    /// Records an order whose customer was charged this amount.
    async fn charges(&self, order: &Order, charged: Money) {
        let placed = serde_json::to_value(order.placed()).unwrap();
        let address = json!({
            "name": "Ada Lovelace", "line1": "12 St James's Square", "line2": null,
            "city": "London", "postal_code": "SW1Y 4JH",
        });
        let address = order.ship_to.address_id.map(|_id| address);
        let launch_after = PgInterval::default();
        testkit::place(&self.owner, order, "v1:test", &placed, address.as_ref(), launch_after)
            .await;
        sqlx::query!(
            "insert into payments.charges
                 (charge_key, order_id, provider_reference, currency, amount, state, captured)
             values ($2, $1, 'pay_1', $3, $4, 'captured', $4)",
            order.order_id.uuid(),
            charge_key(order),
            charged.currency().code(),
            charged.amount(),
        )
        .execute(&self.owner)
        .await
        .unwrap();
    }

    /// Records an order that was charged correctly.
    async fn sold(&self, order: &Order) {
        self.charges(order, order.totals.total).await;
    }

    /// Records a completed refund.
    async fn refunded(&self, order: &Order, number: i32, parts: Parts) {
        sqlx::query!(
            "insert into payments.refund_requests (
                 order_id, number, charge_key, currency, amount, goods, goods_tax, shipping,
                 shipping_tax, lines, reason, requested_by, request, fingerprint, state,
                 provider_reference
             ) values ($1, $2, $3, 'GBP', $4, $5, $6, $7, $8, '[]', 'arrived broken', 'Ada', $9,
                 'v1:test', 'succeeded', 'ref_1')",
            order.order_id.uuid(),
            number,
            charge_key(order),
            parts.total().unwrap().amount(),
            parts.goods.amount(),
            parts.goods_tax.amount(),
            parts.shipping.amount(),
            parts.shipping_tax.amount(),
            number.to_string(),
        )
        .execute(&self.owner)
        .await
        .unwrap();
    }

    /// Executes a statement as the owner.
    async fn change(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.owner).await.unwrap();
    }

    async fn hears(&self, messages: &[Message]) -> Vec<Verdict> {
        self.sink.deliver(messages).await
    }

    /// The documents issued, invoices first, each kind in order.
    async fn issued(&self) -> Vec<String> {
        let rows = sqlx::query!(
            r#"
            select one.number as "number!", one.refund as "refund?", one.total as "total!",
                one.currency as "currency!", other.number as "corrects?"
            from invoices.invoices as one
            left join invoices.invoices as other on other.invoice_id = one.corrects
            order by one.kind desc, one.serial
            "#
        );
        let rows = rows.fetch_all(&self.relay).await.unwrap();
        let told = rows.into_iter().map(|row| {
            let refund = row.refund.map(|number| format!(" of refund {number}"));
            let corrects = row.corrects.map(|number| format!(" corrects {number}"));
            let (refund, corrects) = (refund.unwrap_or_default(), corrects.unwrap_or_default());
            format!("{} {} {}{refund}{corrects}", row.number, row.total, row.currency)
        });
        told.collect()
    }

    /// The numbers of all invoices without their prefix, in order.
    async fn serials(&self) -> Vec<i64> {
        sqlx::query_scalar!(
            "select serial from invoices.invoices where kind = 'invoice' order by serial"
        )
        .fetch_all(&self.relay)
        .await
        .unwrap()
    }
}

/// The SQLSTATE with which Postgres rejects a statement, immediately or at commit.
async fn refused(db: &PgPool, statement: &str) -> String {
    let mut transaction = db.begin().await.unwrap();
    let statement = AssertSqlSafe(statement.to_owned());
    let done = sqlx::raw_sql(statement).execute(&mut *transaction).await;
    let refusal = match done {
        Err(refusal) => refusal,
        Ok(_) => transaction.commit().await.unwrap_err(),
    };
    refusal.as_database_error().unwrap().code().unwrap().into_owned()
}

const APPEND_ONLY: &str = "23001";
const CHECKED: &str = "23514";
const NOT_ALLOWED: &str = "42501";

fn charge_key(order: &Order) -> String {
    format!("{}:authorise-payment:1", order.order_id)
}

fn basket() -> Vec<(PricedSku, Quantity)> {
    vec![
        (testkit::priced("85123A", "2.55", 40), Quantity::new(6).unwrap()),
        (testkit::priced("71053", "3.39", 40), Quantity::new(1).unwrap()),
    ]
}

/// Six hearts and a lantern for Ada in Britain; `number` distinguishes orders.
fn order(number: u128) -> Order {
    let mut order = testkit::order_of(OrderId::of(Uuid::from_u128(number)), &basket());
    order.customer_id = CustomerId::parse("ada").unwrap();
    order.ship_to.address_id = Some(AddressId::of(Uuid::from_u128(99)));
    order
}

fn with_discount(order: Order, discount: DiscountKind) -> Order {
    let (to, rates) = (order.ship_to.country, testkit::british_rates());
    let priced = PriceList::of(&basket(), Some(Discount(discount)), to, &rates).unwrap();
    Order { lines: priced.lines, totals: priced.totals, ..order }
}

fn message(order: &Order, event: &str, payload: &Value) -> Message {
    Message {
        position: 1,
        id: format!("{}:1", order.order_id),
        aggregate_type: "order".to_owned(),
        aggregate_id: order.order_id.to_string(),
        sequence: 1,
        event_type: format!("ordersaga.{event}.v1"),
        payload: RawValue::from_string(payload.to_string()).unwrap(),
        created_at: "2026-11-21T09:52:27Z".parse::<DateTime<Utc>>().unwrap(),
    }
}

fn sale(order: &Order) -> Message {
    message(order, "ledger.revenue-recognised", &json!({ "entries": [] }))
}

fn refund(order: &Order, event: &str, number: u32) -> Message {
    message(order, event, &json!({ "number": number }))
}

/// This amount of what earlier refunds have left of the order, or all of it.
fn part(order: &Order, before: &[Parts], amount: Option<&str>) -> Parts {
    let claimed = before.iter().map(|parts| Claimed { parts: *parts, lines: vec![] });
    let left = Left::of(&order.lines, &order.totals, &claimed.collect::<Vec<_>>()).unwrap();
    let amount = amount.map_or_else(|| left.total().unwrap(), pounds);
    left.parts_of(&Ask::Amount(amount)).unwrap()
}

/// The file embedded in a PDF.
fn embedded(pdf: &[u8]) -> Vec<u8> {
    let file = lopdf::Document::load_mem(pdf).unwrap();
    let followed = |object| file.dereference(object).unwrap().1;
    let files = followed(file.catalog().unwrap().get(b"AF").unwrap()).as_array().unwrap();
    let described = followed(&files[0]).as_dict().unwrap();
    let streams = followed(described.get(b"EF").unwrap()).as_dict().unwrap();
    followed(streams.get(b"F").unwrap()).as_stream().unwrap().get_plain_content().unwrap()
}

fn delivered(times: usize) -> Vec<Verdict> {
    vec![Verdict::Delivered; times]
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_sold_has_one_invoice_of_its_charge(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    let placed = message(&order, "order.placed", &json!({}));
    let captured = message(&order, "payment.captured", &json!({}));
    let batch = [placed, captured, sale(&order)];
    let expected = [Verdict::NotWanted, Verdict::NotWanted, Verdict::Delivered];
    assert_eq!(shop.hears(&batch).await, expected);
    // Delivered again, to another process.
    let other = Shop::of(shop.owner.clone());
    assert_eq!(other.hears(&batch).await, expected);
    // 15.30 and 3.39, 3.95 for shipping, 20 % tax.
    assert_eq!(shop.issued().await, ["INV-000001 27.17 GBP"]);
    let row = sqlx::query!("select ubl, cii, html, pdf, ubl_sha256 from invoices.invoices")
        .fetch_one(&shop.relay)
        .await
        .unwrap();
    assert_eq!(embedded(&row.pdf), row.cii);
    for bytes in [row.ubl, row.cii, row.html] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("INV-000001") && text.contains("Ada Lovelace"), "{text}");
        assert!(text.contains("27.17"), "{text}");
    }
    assert_eq!(row.ubl_sha256.len(), 32);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn discounts_of_every_kind_come_to_the_charge(db: PgPool) {
    let shop = Shop::of(db);
    let percent = |text: &str| DiscountKind::Percent(text.parse().unwrap());
    let amount = DiscountKind::Amount(pounds("5.00"));
    let discounts = [percent("10"), percent("33.3"), percent("100"), amount];
    let mut expected = Vec::new();
    for (number, discount) in (1_u32..).zip(discounts) {
        let order = with_discount(order(number.into()), discount);
        shop.sold(&order).await;
        assert_eq!(shop.hears(&[sale(&order)]).await, delivered(1), "{discount:?}");
        expected.push(format!("INV-{number:06} {}", order.totals.total));
    }
    assert_eq!(shop.issued().await, expected);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_invoiced_at_the_rate_that_it_was_taxed_at(db: PgPool) {
    let shop = Shop::of(db);
    shop.change("update catalog.tax_rates set percent = 21 where country = 'GB'").await;
    let order = order(1);
    shop.sold(&order).await;
    assert_eq!(shop.hears(&[sale(&order)]).await, delivered(1));
    let percent = sqlx::query_scalar!("select tax_percent from invoices.invoices");
    assert_eq!(percent.fetch_one(&shop.relay).await.unwrap(), Decimal::from(20));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn where_it_is_set_invoices_are_issued_at_the_payment(db: PgPool) {
    let more = ["--invoice-at=payment", "--invoice-prefix=A/", "--credit-note-prefix=B/"];
    let shop = Shop::with(db, &more);
    let (paid, paid_before) = (order(1), order(2));
    shop.sold(&paid).await;
    shop.sold(&paid_before).await;
    let captured = message(&paid, "payment.captured", &json!({}));
    assert_eq!(shop.hears(&[captured, sale(&paid), sale(&paid_before)]).await, delivered(3));
    assert_eq!(shop.issued().await, ["A/000001 27.17 GBP", "A/000002 27.17 GBP"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn each_refund_has_one_credit_note_and_all_add_up_to_the_invoice(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    assert_eq!(shop.hears(&[sale(&order)]).await, delivered(1));
    let first = part(&order, &[], Some("10.00"));
    let rest = part(&order, &[first], None);
    shop.refunded(&order, 1, first).await;
    shop.refunded(&order, 2, rest).await;
    let [one, two] = [1, 2].map(|number| refund(&order, "order.refund-succeeded", number));
    assert_eq!(shop.hears(&[one.clone(), two, one]).await, delivered(3));
    assert_eq!(
        shop.issued().await,
        [
            "INV-000001 27.17 GBP",
            "CN-000001 10.00 GBP of refund 1 corrects INV-000001",
            "CN-000002 17.17 GBP of refund 2 corrects INV-000001",
        ]
    );
    let sums = sqlx::query!(
        r#"
        select sum(case kind when 'invoice' then net else -net end) as "net!",
            sum(case kind when 'invoice' then tax else -tax end) as "tax!"
        from invoices.invoices
        "#
    );
    let sums = sums.fetch_one(&shop.relay).await.unwrap();
    assert_eq!((sums.net, sums.tax), (Decimal::ZERO, Decimal::ZERO));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_whose_money_comes_back_for_good_is_invoiced_again(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    shop.refunded(&order, 1, part(&order, &[], Some("10.00"))).await;
    let [succeeded, reversed, failed] = ["succeeded", "reversed", "failed"]
        .map(|end| refund(&order, &format!("order.refund-{end}"), 1));
    // Not credited yet, so there is nothing to invoice again.
    let heard = shop.hears(&[sale(&order), failed.clone()]).await;
    assert_eq!(heard, [Verdict::Delivered, Verdict::NotWanted]);
    assert_eq!(shop.hears(&[succeeded.clone(), reversed]).await, heard);
    assert_eq!(shop.hears(&[succeeded, failed.clone(), failed]).await, delivered(3));
    assert_eq!(
        shop.issued().await,
        [
            "INV-000001 27.17 GBP",
            "INV-000002 10.00 GBP of refund 1 corrects CN-000001",
            "CN-000001 10.00 GBP of refund 1 corrects INV-000001",
        ]
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_taken_back_is_credited_as_a_whole_once(db: PgPool) {
    let shop = Shop::of(db);
    let (order, never_invoiced) = (order(1), order(2));
    shop.sold(&order).await;
    shop.sold(&never_invoiced).await;
    let refunded = message(&order, "payment.refunded", &json!({}));
    let cancelled = message(&order, "order.cancelled", &json!({}));
    assert_eq!(shop.hears(&[sale(&order), refunded, cancelled]).await, delivered(3));
    let cancelled = message(&never_invoiced, "order.cancelled", &json!({}));
    assert_eq!(shop.hears(&[cancelled]).await, [Verdict::NotWanted]);
    let expected = ["INV-000001 27.17 GBP", "CN-000001 27.17 GBP corrects INV-000001"];
    assert_eq!(shop.issued().await, expected);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_of_before_there_were_invoices_has_its_own_with_its_first_refund(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    shop.refunded(&order, 1, part(&order, &[], Some("10.00"))).await;
    let succeeded = refund(&order, "order.refund-succeeded", 1);
    assert_eq!(shop.hears(&[succeeded]).await, delivered(1));
    let credited = "CN-000001 10.00 GBP of refund 1 corrects INV-000001";
    assert_eq!(shop.issued().await, ["INV-000001 27.17 GBP", credited]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_refused_takes_no_number_and_stops_its_order_alone(db: PgPool) {
    let shop = Shop::of(db);
    let (good, short, better, nameless) = (order(1), order(2), order(3), order(4));
    for order in [&good, &better, &nameless] {
        shop.sold(order).await;
    }
    // A cent less was captured than the order's total.
    shop.charges(&short, short.totals.total.checked_sub(pounds("0.01")).unwrap()).await;
    // The standard rejects a buyer without a name, after the number was taken.
    shop.change("update customers.addresses set name = E'\\u202e'").await;
    let mut all = shop.hears(&[sale(&nameless)]).await;
    assert!(matches!(all[..], [Verdict::Refused { .. }]), "{all:?}");
    shop.change("update customers.addresses set name = 'Ada Lovelace'").await;
    let behind = refund(&short, "order.refund-succeeded", 1);
    let heard = shop.hears(&[sale(&good), sale(&short), behind, sale(&better)]).await;
    let why = "27.16 GBP were taken, and the order comes to 27.17 GBP".to_owned();
    let refused = Verdict::Refused { why };
    assert_eq!(heard, [Verdict::Delivered, refused, Verdict::NotTried, Verdict::Delivered]);
    assert_eq!(shop.serials().await, [1, 2]);
    all.extend(heard);
    let told = format!("{all:?}");
    assert!(!told.contains("Ada") && !told.contains("James"), "{told}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn many_processes_issue_without_a_gap_whatever_fails_between(db: PgPool) {
    const ORDERS: u128 = 200;
    const PROCESSES: u128 = 8;
    let shop = Arc::new(Shop::of(db));
    for number in 1..=ORDERS {
        let order = order(number);
        // One in ten is refused by every process.
        let short = order.totals.total.checked_sub(pounds("0.01")).unwrap();
        shop.charges(&order, if number % 10 == 0 { short } else { order.totals.total }).await;
    }
    let processes = (0..PROCESSES).map(|process| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            // Each order is handled by two of them concurrently.
            let own = |number: &u128| {
                number % PROCESSES == process || (number + 1) % PROCESSES == process
            };
            for number in (1..=ORDERS).filter(own) {
                let heard = [sale(&order(number))];
                // Some calls are cancelled at an arbitrary point.
                if number % 7 == process % 7 {
                    let (shop, heard) = (Arc::clone(&shop), heard.clone());
                    let begun = tokio::spawn(async move { shop.hears(&heard).await });
                    tokio::task::yield_now().await;
                    begun.abort();
                    let _ended = begun.await;
                }
                // An order that another process is handling is retried, as the relay does.
                while let [Verdict::Unavailable { .. }] = shop.hears(&heard).await[..] {}
            }
        })
    });
    for process in processes.collect::<Vec<_>>() {
        process.await.unwrap();
    }
    let all: Vec<i64> = (1..=180).collect();
    assert_eq!(shop.serials().await, all);
    let next = sqlx::query_scalar!("select next_number from invoices.series");
    assert_eq!(next.fetch_all(&shop.relay).await.unwrap(), [181]);
    let orders = sqlx::query_scalar!(
        r#"select count(distinct order_id) as "count!" from invoices.invoices"#
    );
    assert_eq!(orders.fetch_one(&shop.relay).await.unwrap(), 180);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn nobody_changes_what_was_issued_or_counts_past_it(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    assert_eq!(shop.hears(&[sale(&order)]).await, delivered(1));
    for statement in [
        "update invoices.invoices set total = total",
        "delete from invoices.invoices",
        "truncate invoices.invoices",
        "delete from invoices.series",
        "update invoices.series set next_number = next_number + 2",
        "update invoices.series set next_number = 1",
        "update invoices.series set prefix = 'OTHER-', next_number = next_number + 1",
        "insert into invoices.series (seller, kind, prefix, next_number)
         values ('GB123456789', 'invoice', 'OTHER-', 7)",
    ] {
        assert_eq!(refused(&shop.owner, statement).await, APPEND_ONLY, "{statement}");
    }
    for statement in [
        // A number without a document.
        "update invoices.series set next_number = next_number + 1",
        // A document under a number that was not taken for it.
        "insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, currency,
             tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series_id, 9, 'INV-000009', seller, kind, gen_random_uuid(), currency, tax_percent,
             net, tax, total, issued_at, ubl, cii, html, pdf
         from invoices.invoices",
    ] {
        assert_eq!(refused(&shop.owner, statement).await, CHECKED, "{statement}");
    }
    for statement in [
        "update invoices.invoices set total = 1",
        "delete from invoices.invoices",
        "update invoices.series set seller = 'GB1'",
        "delete from invoices.series",
        "update orders.orders set total = 1",
        "update payments.refund_requests set amount = 1",
    ] {
        assert_eq!(refused(&shop.relay, statement).await, NOT_ALLOWED, "{statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_starter_reads_documents_and_the_worker_sees_all_but_them(db: PgPool) {
    let shop = Shop::of(db);
    let order = order(1);
    shop.sold(&order).await;
    assert_eq!(shop.hears(&[sale(&order)]).await, delivered(1));
    let starter = testkit::as_role(&shop.owner, "ordersaga_starter");
    let worker = testkit::as_role(&shop.owner, "ordersaga_worker");
    let documents = "select ubl, cii, html, pdf from invoices.invoices";
    sqlx::raw_sql(documents).execute(&starter).await.unwrap();
    let amounts = "select number, order_id, net, tax, total from invoices.invoices";
    sqlx::raw_sql(amounts).execute(&worker).await.unwrap();
    for column in ["ubl", "cii", "html", "pdf"] {
        let statement = format!("select {column} from invoices.invoices");
        assert_eq!(refused(&worker, &statement).await, NOT_ALLOWED, "{column}");
    }
    for writer in [&starter, &worker] {
        let statement = "insert into invoices.series (seller) values ('GB1')";
        assert_eq!(refused(writer, statement).await, NOT_ALLOWED);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_the_database_is_away_nothing_is_lost_and_nothing_refused(db: PgPool) {
    let shop = Shop::of(db);
    let orders = [order(1), order(2)];
    for order in &orders {
        shop.sold(order).await;
    }
    let batch: Vec<_> = orders.iter().flat_map(|order| [sale(order), sale(order)]).collect();
    shop.relay.close().await;
    let verdicts = shop.hears(&batch).await;
    let [away, behind, next, last] = &verdicts[..] else { unreachable!("{verdicts:?}") };
    assert!(matches!(away, Verdict::Unavailable { .. }), "{verdicts:?}");
    assert_eq!((behind, next, last), (&Verdict::NotTried, away, &Verdict::NotTried));
    let again = Shop::of(shop.owner.clone());
    assert_eq!(again.hears(&batch).await, delivered(4));
    assert_eq!(again.serials().await, [1, 2]);
}
