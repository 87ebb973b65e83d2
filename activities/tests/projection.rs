//! The projection of events in the database agrees with the domain's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::dispute::DisputeStatus;
use domain::event::{
    AttentionNeeded, AttentionResolved, AwaitingCustomer, Booked, Cancelled, Completed, Delivered,
    DisputeReleased, Disputed, EventType, Expired, Failed, OrderEvent, Parcelled, PaymentMoved,
    RefundEnded, RefundRequested, RefundReversed, RefundSucceeded, Refused, ReviewNeeded, Reviewed,
    StockLines, Unwinding,
};
use domain::ledger::JournalEntry;
use domain::screening::ReviewDecision;
use domain::{
    Attention, Decision, Ending, FulfilmentStatus, OrderState, OrderStatus, PaymentStatus,
    Rejection, StepName,
};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Uuid;
use strum::IntoEnumIterator as _;
use testkit::pounds;

use crate::support::{
    HEART, Shop, cancelled, fingerprint, invalid_answer, order, paid_with, refusal, sent_to,
};

/// One event of each type, and one per decision that matters.
fn samples() -> Vec<OrderEvent> {
    let order = order(1);
    let refused = || Refused { rejection: Rejection::ReservationExpired };
    let lines = || StockLines { lines: order.stock_claim().lines };
    let moved = || PaymentMoved { amount: order.totals.total, provider_reference: "p".to_owned() };
    let booked = || Booked { entries: JournalEntry::deposit(&order).unwrap().entries().to_vec() };
    let parcelled = |tracking: &str| Parcelled { tracking: tracking.to_owned() };
    let needed = |occurrence, decisions| AttentionNeeded {
        step: StepName::ShipOrder,
        occurrence,
        undoing: true,
        why: "the parcel has left".to_owned(),
        decisions,
    };
    let resolved = |decision| AttentionResolved {
        step: StepName::ShipOrder,
        occurrence: 1,
        decision,
        by: "Ada".to_owned(),
        why: "seen it".to_owned(),
    };
    vec![
        OrderEvent::OrderPlaced(order.placed()),
        OrderEvent::StockReserved(lines()),
        OrderEvent::StockRefused(refused()),
        OrderEvent::StockReleased(lines()),
        OrderEvent::ReservationExpired(Expired { reservation: "r".to_owned() }),
        OrderEvent::ReviewNeeded(ReviewNeeded { until: the_moment() }),
        OrderEvent::OrderReviewed(Reviewed {
            decision: ReviewDecision::Approve,
            by_default: false,
        }),
        OrderEvent::PaymentAwaitingCustomer(AwaitingCustomer {
            amount: order.totals.total,
            provider_reference: "p".to_owned(),
            until: the_moment(),
        }),
        OrderEvent::PaymentAuthorised(moved()),
        OrderEvent::PaymentExpired(refused()),
        OrderEvent::PaymentCaptured(moved()),
        OrderEvent::PaymentDeclined(refused()),
        OrderEvent::PaymentVoided(moved()),
        OrderEvent::PaymentRefunded(moved()),
        OrderEvent::LedgerPosted(booked()),
        OrderEvent::LedgerReversed(booked()),
        OrderEvent::RevenueRecognised(booked()),
        OrderEvent::ShipmentRefused(refused()),
        OrderEvent::OrderShipped(parcelled("T1")),
        OrderEvent::ShipmentCancelled(parcelled("T1")),
        OrderEvent::OrderDelivered(Delivered {
            tracking: "T1".to_owned(),
            delivered_at: the_moment(),
            reported_by: "Ada".to_owned(),
        }),
        OrderEvent::OrderUnwinding(Unwinding { ending: cancelled("changed my mind") }),
        OrderEvent::AttentionNeeded(needed(1, vec![Decision::Retry, Decision::AcceptAsDone])),
        OrderEvent::AttentionNeeded(needed(2, vec![Decision::Retry, Decision::Skip])),
        OrderEvent::AttentionResolved(resolved(Decision::Retry)),
        OrderEvent::AttentionResolved(resolved(Decision::Skip)),
        OrderEvent::AttentionResolved(resolved(Decision::AcceptAsDone)),
        OrderEvent::OrderCompleted(Completed {}),
        OrderEvent::OrderCancelled(Cancelled { reason: "changed my mind".to_owned() }),
        OrderEvent::OrderRejected(refused()),
        OrderEvent::OrderFailed(Failed { incident: "i".to_owned() }),
    ]
}

/// The same for refunds, one that leaves a part of the payment and one that leaves nothing.
fn samples_of_refunds() -> Vec<OrderEvent> {
    let order = order(1);
    let amount = order.totals.total;
    let given_back =
        |left| RefundSucceeded { number: 1, amount, left, provider_reference: "r".to_owned() };
    let come_back = |given_back| RefundReversed {
        number: 1,
        amount,
        given_back,
        why: "card closed".to_owned(),
        provider_reference: "r".to_owned(),
    };
    let kept = || RefundEnded { number: 1, amount, why: "card closed".to_owned() };
    vec![
        OrderEvent::RefundRequested(RefundRequested {
            number: 1,
            amount,
            lines: vec![],
            reason: "arrived broken".to_owned(),
            requested_by: "Ada".to_owned(),
        }),
        OrderEvent::RefundSucceeded(given_back(amount)),
        OrderEvent::RefundSucceeded(given_back(pounds("0"))),
        OrderEvent::RefundReversed(come_back(amount)),
        OrderEvent::RefundReversed(come_back(pounds("0"))),
        OrderEvent::RefundFailed(kept()),
        OrderEvent::RefundCancelled(kept()),
        OrderEvent::RefundPosted(Booked {
            entries: JournalEntry::deposit(&order).unwrap().entries().to_vec(),
        }),
        OrderEvent::AttentionNeeded(AttentionNeeded {
            step: StepName::IssueRefund,
            occurrence: 3,
            undoing: false,
            why: "the refund failed".to_owned(),
            decisions: vec![Decision::Retry, Decision::Skip],
        }),
        OrderEvent::AttentionResolved(AttentionResolved {
            step: StepName::IssueRefund,
            occurrence: 3,
            decision: Decision::Skip,
            by: "Ada".to_owned(),
            why: "paid by bank".to_owned(),
        }),
    ]
}

/// The same for disputes, with every payment status that they can lead to.
fn samples_of_disputes() -> Vec<OrderEvent> {
    let order = order(1);
    let disputed = |status, payment_status| Disputed {
        dispute_id: "dp_1".to_owned(),
        number: 1,
        status,
        amount: order.totals.total,
        reason: "fraudulent".to_owned(),
        evidence_due: Some(the_moment()),
        payment_status,
    };
    let (open, won) = (DisputeStatus::NeedsResponse, DisputeStatus::Won);
    vec![
        OrderEvent::DisputeOpened(disputed(open, Some(PaymentStatus::Disputed))),
        OrderEvent::DisputeUpdated(disputed(open, Some(PaymentStatus::Disputed))),
        OrderEvent::DisputeUpdated(disputed(open, None)),
        OrderEvent::DisputeClosed(disputed(won, Some(PaymentStatus::Paid))),
        OrderEvent::DisputeClosed(disputed(won, Some(PaymentStatus::PartiallyRefunded))),
        OrderEvent::DisputeClosed(disputed(DisputeStatus::Lost, Some(PaymentStatus::Refunded))),
        OrderEvent::DisputeReleased(DisputeReleased {
            dispute_id: "dp_1".to_owned(),
            number: 1,
            by: "Ada".to_owned(),
            why: "the customer has called".to_owned(),
        }),
        OrderEvent::DisputePosted(Booked {
            entries: JournalEntry::deposit(&order).unwrap().entries().to_vec(),
        }),
    ]
}

fn the_moment() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_291_190_760_123_456).unwrap()
}

/// The projected columns of an order, and the derived values.
#[derive(Clone, Debug)]
struct Projected {
    row: Value,
    is_terminal: bool,
    is_at_rest: bool,
}

/// Stores orders in these states, applies an event to each, and returns the results.
async fn project(db: &PgPool, cases: &[(&Value, &OrderEvent)]) -> Vec<Projected> {
    let ids: Vec<Uuid> = (1..).take(cases.len()).map(Uuid::from_u128).collect();
    let rows: Vec<Value> = cases.iter().map(|(row, _)| (*row).clone()).collect();
    let types: Vec<String> =
        cases.iter().map(|(_, event)| event.event_type().name().to_owned()).collect();
    let events: Vec<Value> = cases.iter().map(|(_, event)| event.data().unwrap()).collect();
    let mut transaction = db.begin().await.unwrap();
    sqlx::query!(
        r#"select orders.project_placed(id, $2, 'v1:', $3) as "new!" from unnest($1::uuid[]) as id"#,
        &ids,
        serde_json::to_value(order(1).placed()).unwrap(),
        the_moment(),
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    sqlx::query!(
        r#"
        update orders.orders set
            status_data = known -> 'status_data',
            payment_status = known ->> 'payment_status',
            fulfilment_status = known ->> 'fulfilment_status',
            ending = nullif(known -> 'ending', 'null'),
            attention = nullif(known -> 'attention', 'null'),
            tracking = known ->> 'tracking'
        from unnest($1::uuid[], $2::jsonb[]) as given (id, known)
        where order_id = id
        "#,
        &ids,
        &rows,
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    sqlx::query!(
        r#"
        select orders.project(id, type, event, $4) as "number!"
        from unnest($1::uuid[], $2::text[], $3::jsonb[]) as given (id, type, event)
        "#,
        &ids,
        &types,
        &events,
        the_moment(),
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    let projected = sqlx::query_as!(
        Projected,
        r#"
        select
            to_jsonb(orders) as "row!",
            orders.is_terminal(status) as "is_terminal!",
            orders.is_at_rest(status, attention) as "is_at_rest!"
        from orders.orders order by order_id
        "#
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    transaction.rollback().await.unwrap();
    projected
}

/// The order's state in the database, parsed as the domain's type.
fn state_of(row: &Value) -> OrderState {
    let read = |field: &str| row[field].as_str().unwrap().to_owned();
    let attention: Option<Attention> = serde_json::from_value(row["attention"].clone()).unwrap();
    let ending: Option<Ending> = serde_json::from_value(row["ending"].clone()).unwrap();
    OrderState {
        status: serde_json::from_value(row["status_data"].clone()).unwrap(),
        payment_status: read("payment_status").parse().unwrap(),
        fulfilment_status: read("fulfilment_status").parse().unwrap(),
        unwinding: ending.is_some(),
        needs_attention: attention,
        tracking: serde_json::from_value(row["tracking"].clone()).unwrap(),
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_happens_to_an_order_the_database_and_the_shop_make_the_same_of_it(db: PgPool) {
    let samples = [samples(), samples_of_refunds(), samples_of_disputes()].concat();
    let types: BTreeSet<_> = samples.iter().map(OrderEvent::event_type).collect();
    assert_eq!(types, EventType::iter().collect(), "a type has no sample");

    let placed = json!({
        "status_data": { "status": "processing" }, "payment_status": "none",
        "fulfilment_status": "none", "ending": null, "attention": null, "tracking": null,
    });
    let name_of = |state: &OrderState| serde_json::to_string(state).unwrap();
    let mut seen = BTreeSet::from([name_of(&OrderState::placed())]);
    let mut frontier = vec![(OrderState::placed(), placed)];
    while !frontier.is_empty() {
        let cases: Vec<_> = frontier
            .iter()
            .flat_map(|(state, row)| samples.iter().map(move |event| (state, row, event)))
            .collect();
        let given: Vec<_> = cases.iter().map(|(_, row, event)| (*row, *event)).collect();
        let mut next = BTreeMap::new();
        for ((before, _, event), after) in cases.iter().zip(project(&db, &given).await) {
            let expected = (*before).clone().apply(event, the_moment());
            let happened = event.event_type().name();
            assert_eq!(state_of(&after.row), expected, "{happened} after {before:?}");
            assert_eq!(after.is_terminal, expected.status.is_terminal(), "{expected:?}");
            assert_eq!(after.is_at_rest, expected.is_at_rest(), "{expected:?}");
            let name = name_of(&expected);
            if seen.insert(name.clone()) {
                next.insert(name, (expected, after.row));
            }
        }
        frontier = next.into_values().collect();
    }
    assert!(seen.len() > 200, "only {} states were reached", seen.len());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_database_has_the_same_state_machines_as_the_shop(db: PgPool) {
    for (from, to) in PaymentStatus::iter().flat_map(|a| PaymentStatus::iter().map(move |b| (a, b)))
    {
        let may = sqlx::query_scalar!(
            r#"select orders.payment_may_become($1, $2) as "may!""#,
            from.name(),
            to.name(),
        );
        let may = may.fetch_one(&db).await.unwrap();
        assert_eq!(may, from.transition_to(to).is_ok(), "payment: {from} to {to}");
    }
    for (from, to) in
        FulfilmentStatus::iter().flat_map(|a| FulfilmentStatus::iter().map(move |b| (a, b)))
    {
        let may = sqlx::query_scalar!(
            r#"select orders.fulfilment_may_become($1, $2) as "may!""#,
            from.name(),
            to.name(),
        );
        let may = may.fetch_one(&db).await.unwrap();
        assert_eq!(may, from.transition_to(to).is_ok(), "fulfilment: {from} to {to}");
    }
}

/// The values that a check constraint allows for a column.
async fn known_to(db: &PgPool, constraint: &str) -> BTreeSet<String> {
    let values = sqlx::query_scalar!(
        r#"
        select (regexp_matches(pg_get_constraintdef(oid), '''([a-z-]+)''::text', 'g'))[1] as "value!"
        from pg_constraint where conname = $1
        "#,
        constraint,
    );
    values.fetch_all(db).await.unwrap().into_iter().collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_database_knows_the_same_statuses_as_the_shop(db: PgPool) {
    let names = |names: &mut dyn Iterator<Item = &'static str>| -> BTreeSet<String> {
        names.map(ToOwned::to_owned).collect()
    };
    let payment = names(&mut PaymentStatus::names());
    assert_eq!(known_to(&db, "orders_payment_status_known").await, payment);
    let fulfilment = names(&mut FulfilmentStatus::names());
    assert_eq!(known_to(&db, "orders_fulfilment_status_known").await, fulfilment);
    let status = names(&mut OrderStatus::NAMES.into_iter());
    assert_eq!(known_to(&db, "orders_status_known").await, status);
    for name in OrderStatus::NAMES {
        let is_terminal = sqlx::query_scalar!(r#"select orders.is_terminal($1) as "is!""#, name);
        let is_terminal = is_terminal.fetch_one(&db).await.unwrap();
        assert_eq!(is_terminal, name != "processing", "{name}");
    }
}

/// The event types that a text names in quotes.
fn types_named_in(text: &str) -> impl Iterator<Item = &str> {
    let families = ["order.", "stock.", "payment.", "ledger.", "shipment."];
    text.split('\'').filter(move |quoted| {
        families.iter().any(|family| quoted.starts_with(family))
            && quoted.bytes().all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte))
    })
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_event_type_that_sql_names_is_known(db: PgPool) {
    let functions = sqlx::query_scalar!(
        r#"
        select pg_get_functiondef(oid) as "text!" from pg_proc
        where pronamespace in ('orders'::regnamespace, 'operations'::regnamespace)
        "#
    );
    let mut texts = functions.fetch_all(&db).await.unwrap();
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    for source in sources {
        let path = source.unwrap().path();
        if path.is_file() {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    let named: BTreeSet<_> = texts.iter().flat_map(|text| types_named_in(text)).collect();
    for name in ["order.placed", "ledger.reversed", "stock.reservation-expired"] {
        assert!(named.contains(name), "{name} was not found in {named:?}");
    }
    for name in named {
        assert!(name.parse::<EventType>().is_ok(), "no such event: {name}");
    }
}

/// Every course of an order's life.
async fn lives(shop: &Shop) -> Vec<domain::Order> {
    let orders: Vec<_> = (1..=7).map(order).collect();
    let [completed, declined, mended, accepted, failed, unlaunched, taken_back] =
        <[_; 7]>::try_from(orders).unwrap();
    let address = Some(domain::AddressId::of(Uuid::from_u128(7)));
    let declined = sent_to(paid_with(declined, "tok_declined"), "GB", address);
    let mended = paid_with(mended, "tok_refund_broken");

    shop.takes_up_to_posting(&completed).await;
    shop.ships(&completed).await.unwrap();
    shop.recognises(&completed).await.unwrap();

    shop.places_as(
        &declined,
        &fingerprint(&declined),
        Some(json!({
            "name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
            "postal_code": "SW1Y 4JH",
        })),
    )
    .await;
    shop.reserves(&declined).await.unwrap();
    let rejection = refusal(shop.charges(&declined).await);
    shop.unwinds(&declined).await;
    shop.releases(&declined).await.unwrap();
    shop.ends(&declined, Ending::Rejected { rejection }).await;

    shop.takes_up_to_posting(&mended).await;
    shop.unwinds(&mended).await;
    shop.reverses(&mended).await.unwrap();
    let why = invalid_answer(shop.refunds(&mended).await);
    shop.needs_a_person(&mended, StepName::CapturePayment, &why).await;
    shop.decides(&mended, StepName::CapturePayment, 1, Decision::Retry).await;
    sqlx::query!(
        "insert into sandbox_provider.repairs (idempotency_key) values ($1)",
        mended.key(StepName::AuthorisePayment).to_string(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    shop.refunds(&mended).await.unwrap();
    shop.releases(&mended).await.unwrap();
    shop.ends(&mended, cancelled("changed my mind")).await;

    shop.takes_up_to_posting(&accepted).await;
    shop.ships(&accepted).await.unwrap();
    shop.unwinds(&accepted).await;
    shop.needs_a_person(&accepted, StepName::ShipOrder, "the parcel has left").await;
    shop.decides(&accepted, StepName::ShipOrder, 1, Decision::AcceptAsDone).await;
    shop.recognises(&accepted).await.unwrap();

    shop.places(&failed).await;
    shop.unwinds(&failed).await;
    shop.needs_a_person(&failed, StepName::ReserveStock, "a bug").await;
    shop.ends(&failed, Ending::Failed { incident: "i".to_owned() }).await;

    shop.places(&unlaunched).await;
    shop.cancels_before_launch(&unlaunched, "changed my mind").await;

    shop.takes_up_to_posting(&taken_back).await;
    shop.ships(&taken_back).await.unwrap();
    shop.recognises(&taken_back).await.unwrap();
    shop.unwinds(&taken_back).await;
    shop.needs_a_person(&taken_back, StepName::ShipOrder, "the parcel has left").await;
    vec![completed, declined, mended, accepted, failed, unlaunched, taken_back]
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_orders_row_that_is_told_anew_from_its_events_is_the_same_row(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let lives = lives(&shop).await;
    let mut statuses = BTreeSet::new();
    for order in &lives {
        let told = sqlx::query_scalar!(
            r#"select orders.told_anew($1)::text as "told!""#,
            order.order_id.uuid(),
        );
        assert_eq!(shop.row_of(order).await, told.fetch_one(&shop.db).await.unwrap());
        statuses.insert(shop.status_of(order).await);
    }
    assert_eq!(statuses, OrderStatus::NAMES.map(ToOwned::to_owned).into(), "a life is missing");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_happens_to_an_order_its_row_is_what_its_events_tell(db: PgPool) {
    let shop = Shop::on(db);
    let samples = [samples(), samples_of_refunds(), samples_of_disputes()].concat();
    let happens: Vec<_> =
        samples.iter().filter(|one| one.event_type() != EventType::OrderPlaced).collect();
    for number in 1..=30 {
        let order = order(number);
        shop.places(&order).await;
        let number = usize::try_from(number).unwrap();
        // A different order of events for each, in which a terminal one is seldom the last.
        let course = happens.iter().cycle().skip(number).step_by(number).take(happens.len());
        for event in course {
            sqlx::query!(
                "select orders.record($1, $2, $3)",
                order.order_id.uuid(),
                event.event_type().name(),
                event.data().unwrap(),
            )
            .fetch_one(&shop.db)
            .await
            .unwrap();
        }
    }
    let differing = sqlx::query_scalar!(
        r#"
        select format('%s of %s', what, order_id) as "differing!"
        from orders.orders, orders.differences(order_id)
        "#
    );
    assert_eq!(differing.fetch_all(&shop.db).await.unwrap(), Vec::<String>::new());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_late_success_does_not_make_an_order_look_better_than_it_is(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.unwinds(&order).await;
    shop.refunds(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    for late in ["payment.captured", "stock.reserved"] {
        sqlx::query!("select orders.record($1, $2, '{}')", order.order_id.uuid(), late)
            .fetch_one(&shop.db)
            .await
            .unwrap();
    }
    assert_eq!(shop.payment_of(&order).await, "refunded");
    assert_eq!(shop.fulfilment_of(&order).await, "cancelled");
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "stock.reserved", "it is kept");
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn events_and_messages_carry_neither_card_nor_address(db: PgPool) {
    let shop = Shop::stocked(db).await;
    lives(&shop).await;
    let leaks = sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from (
            select data from orders.order_events union all select payload from outbox.messages
        ) as told
        where data::text ~ 'tok_|payment_token|name|line1|postal|Lovelace|St James'
        "#
    );
    assert_eq!(leaks.fetch_one(&shop.db).await.unwrap(), 0);
}
