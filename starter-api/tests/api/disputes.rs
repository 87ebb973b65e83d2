//! Disputes of customers' banks: who sees them, what waits for an operator, and who releases a
//! parcel.

use domain::dispute::DisputeStatus;
use domain::event::{Disputed, OrderEvent};
use domain::{Money, PaymentStatus};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::life::{captured, happen, needs_attention, record, rejected, reserved, unwinding};
use crate::refunding::completed_order;
use crate::shop::{Shop, nowhere, send};

/// A shop without Temporal.
async fn shop(database: &PgPool) -> Shop {
    Shop::with(database.clone(), nowhere(), Limits::default()).await
}

fn total() -> Money {
    testkit::pounds("23.10")
}

/// Records a dispute of a completed order's whole payment, as the worker does.
async fn dispute(database: &PgPool, order: Uuid, id: &str, status: DisputeStatus) {
    sqlx::query!(
        "insert into payments.disputes (
             dispute_id, order_id, number, charge_key, currency, amount, status, is_lost, reason,
             evidence_due, asked_at
         )
         select $2::text, $1::uuid, count(*) + 1, $3::text, 'GBP', 23.10, $4::text, $4 = 'lost',
             'fraudulent', '2026-12-05T23:59:59Z', case when $5 then clock_timestamp() end
         from payments.disputes where order_id = $1",
        order,
        id,
        format!("{order}:authorise-payment:1"),
        status.name(),
        status.needs_answer(),
    )
    .execute(database)
    .await
    .unwrap();
    let disputed = OrderEvent::DisputeOpened(Disputed {
        dispute_id: id.to_owned(),
        number: 1,
        status,
        amount: total(),
        reason: "fraudulent".to_owned(),
        evidence_due: Some("2026-12-05T23:59:59Z".parse().unwrap()),
        payment_status: status.has_payment().then_some(PaymentStatus::Disputed),
    });
    happen(database, order, &[disputed]).await;
}

/// The pages of a list, each with its items.
async fn pages(shop: &Shop, first: &str) -> Vec<Vec<Value>> {
    let (mut path, mut pages) = (first.to_owned(), Vec::new());
    loop {
        let page = shop.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        pages.push(page.json()["items"].as_array().unwrap().clone());
        let Some(link) = page.header("link") else { return pages };
        link.trim_start_matches('<').split_once('>').unwrap().0.clone_into(&mut path);
    }
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["dispute_id"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn staff_see_the_disputes_of_an_order_and_customers_do_not(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let path = format!("/v1/orders/{id}");
    let eve = shop.asked_by("eve", "operator");
    assert_eq!(eve.get(&path).await.json().get("disputes"), None, "there is none");
    dispute(&database, id, "dp_1", DisputeStatus::NeedsResponse).await;
    for role in ["operator", "finance"] {
        let shown = shop.asked_by("eve", role).get(&path).await.json();
        assert_eq!(shown["payment_status"], "disputed");
        let mut first = shown["disputes"][0].clone();
        for moment in ["opened_at", "updated_at"] {
            assert!(first.as_object_mut().unwrap().remove(moment).is_some(), "{moment}");
        }
        assert_eq!(
            first,
            json!({
                "dispute_id": "dp_1", "order_id": id, "number": 1, "status": "needs-response",
                "amount": {"amount": "23.10", "currency": "GBP"}, "reason": "fraudulent",
                "evidence_due": "2026-12-05T23:59:59Z",
            }),
            "{role}"
        );
    }
    for other in [shop.asked_by_customer("ada"), shop.asked_by("web-shop", "service")] {
        let shown = other.get(&path).await.json();
        assert_eq!(shown["payment_status"], "disputed");
        assert_eq!(shown.get("disputes"), None);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn disputes_are_listed_newest_first_in_pages(database: PgPool) {
    let shop = shop(&database).await;
    let (one, other) = (completed_order(&database).await, completed_order(&database).await);
    dispute(&database, one, "dp_1", DisputeStatus::Lost).await;
    dispute(&database, other, "dp_2", DisputeStatus::UnderReview).await;
    dispute(&database, one, "dp_3", DisputeStatus::NeedsResponse).await;
    let eve = shop.asked_by("eve", "operator");
    let all = pages(&eve, "/v1/disputes?limit=2").await;
    let all: Vec<_> = all.iter().map(|page| ids(page)).collect();
    assert_eq!(all, [vec!["dp_3", "dp_2"], vec!["dp_1"]]);
    let open = pages(&shop.asked_by("fin", "finance"), "/v1/disputes?open=true&limit=1").await;
    let open: Vec<_> = open.iter().map(|page| ids(page)).collect();
    assert_eq!(open, [vec!["dp_3"], vec!["dp_2"]]);
    let closed = pages(&eve, "/v1/disputes?open=false").await;
    assert_eq!(ids(&closed[0]), ["dp_1"]);
    for wrong in ["cursor=x", "open=perhaps", "limit=0"] {
        let refused = eve.get(&format!("/v1/disputes?{wrong}")).await;
        assert_eq!(refused.problem(), "malformed-request", "{wrong}");
    }
    for other in [shop.asked_by_customer("ada"), shop.asked_by("web-shop", "service")] {
        assert_eq!(other.get("/v1/disputes").await.problem(), "insufficient-scope");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_has_to_be_answered_is_among_what_waits_for_a_person(database: PgPool) {
    let shop = shop(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let disputed = completed_order(&database).await;
    dispute(&database, disputed, "dp_1", DisputeStatus::NeedsResponse).await;
    let stuck = Uuid::now_v7();
    record(&database, stuck, "ada", "2026-01-02T03:04:05Z").await;
    let events = [reserved(), captured(), unwinding(rejected()), needs_attention(1, "HTTP 500")];
    happen(&database, stuck, &events).await;
    let reviewed = completed_order(&database).await;
    dispute(&database, reviewed, "dp_2", DisputeStatus::UnderReview).await;

    let waiting = pages(&eve, "/v1/attention?limit=1").await;
    let waiting: Vec<_> = waiting.into_iter().flatten().collect();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    let (first, second) = (&waiting[0], &waiting[1]);
    assert_eq!((&first["order_id"], &second["order_id"]), (&json!(disputed), &json!(stuck)));
    assert_eq!((&first["step"], &first["occurrence"]), (&json!("answer-dispute"), &json!(1)));
    assert_eq!(first["until"], "2026-12-05T23:59:59Z");
    assert_eq!(first["decisions"], json!(["skip"]));
    assert_eq!(
        first["why"],
        "the customer's bank has taken 23.10 GBP back (fraudulent): answer dispute dp_1 at the \
         payment provider by 2026-12-05 23:59 UTC; it is off this list once the provider says that \
         it is answered, or somebody decides `skip`"
    );
    assert_eq!(
        first["advice"],
        format!(
            "answer it at the payment provider, or `ordersaga attention resolve {disputed} skip \
             --step answer-dispute --occurrence 1 --why WHY` once it is dealt with"
        )
    );
    assert_eq!(second.get("until"), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_operator_deals_with_a_dispute_once_and_it_is_on_record(database: PgPool) {
    let shop = shop(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let id = completed_order(&database).await;
    dispute(&database, id, "dp_1", DisputeStatus::NeedsResponse).await;
    let path = format!("/v1/orders/{id}/resolve");
    let decision = |decision: &str, number: u32| {
        json!({
            "step": "answer-dispute", "occurrence": number, "decision": decision,
            "why": "the customer has called their bank",
        })
    };
    for wrong in [decision("retry", 1), decision("skip", 2), decision("skip", u32::MAX)] {
        assert_eq!(eve.post(&path, &wrong).await.problem(), "order-not-stuck", "{wrong}");
    }
    let decided = eve.post(&path, &decision("skip", 1)).await;
    assert_eq!(decided.status, 200, "{}", decided.text);
    assert_eq!(
        decided.json(),
        json!({
            "order_id": id, "step": "answer-dispute", "occurrence": 1, "decision": "skip",
            "by": "eve",
        })
    );
    // Her response may have been lost, so she may repeat the decision; nobody else can change it.
    let again = eve.post(&path, &decision("skip", 1)).await;
    assert_eq!((again.status, again.json()), (decided.status, decided.json()));
    let bob = shop.asked_by("bob", "operator");
    assert_eq!(bob.post(&path, &decision("skip", 1)).await.problem(), "order-not-stuck");
    assert_eq!(eve.get("/v1/attention").await.json()["items"], json!([]));
    let shown = eve.get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!(shown["disputes"][0]["released_by"], "eve");
    let timeline = eve.get(&format!("/v1/orders/{id}/timeline")).await.json();
    let last = timeline["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(last["text"], "eve has dealt with dispute 1: the customer has called their bank");
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.post(&path, &decision("skip", 1)).await.problem(), "insufficient-scope");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_decision_reaches_all_disputes_that_wait_for_the_same_and_no_others(database: PgPool) {
    let shop = shop(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let mut orders = Vec::new();
    for (id, status) in [
        ("dp_1", DisputeStatus::NeedsResponse),
        ("dp_2", DisputeStatus::WarningNeedsResponse),
        ("dp_3", DisputeStatus::NeedsResponse),
        ("dp_4", DisputeStatus::UnderReview),
    ] {
        let order = completed_order(&database).await;
        dispute(&database, order, id, status).await;
        orders.push(order);
    }
    let decide = async |decision: &str, cause: &str| {
        let body = json!({
            "step": "answer-dispute", "cause": cause, "decision": decision,
            "why": "accepted at the provider",
        });
        let told = eve.post("/v1/attention/resolve", &body).await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.json()
    };
    let taken = "the customer's bank has taken 23.10 GBP back (fraudulent)";
    let reason = "retry cannot be decided for answer-dispute";
    let refused = |order: Uuid| json!({ "order_id": order, "reason": reason });
    assert_eq!(
        decide("retry", taken).await,
        json!({ "resolved": [], "refused": [refused(orders[0]), refused(orders[2])] })
    );
    let nothing = json!({ "resolved": [], "refused": [] });
    assert_eq!(decide("skip", "the customer has called").await, nothing);
    let done = json!({ "resolved": [orders[0], orders[2]], "refused": [] });
    assert_eq!(decide("skip", taken).await, done);
    assert_eq!(decide("skip", taken).await, nothing, "nobody is asked any more");
    let left = eve.get("/v1/attention").await.json();
    let left: Vec<_> =
        left["items"].as_array().unwrap().iter().map(|item| item["order_id"].clone()).collect();
    assert_eq!(left, [json!(orders[1])]);
    let shown = eve.get(&format!("/v1/orders/{}", orders[2])).await.json();
    assert_eq!(shown["disputes"][0]["released_by"], "eve");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_of_a_disputed_payment_is_refused_with_the_reason(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    dispute(&database, id, "dp_1", DisputeStatus::NeedsResponse).await;
    let body = json!({"amount": {"amount": "1.00", "currency": "GBP"}, "reason": "be nice"});
    let request = shop.request("POST", &format!("/v1/orders/{id}/refunds"));
    let asked = send(request.header("Idempotency-Key", "k").json(&body)).await;
    assert_eq!(asked.problem(), "order-not-refundable");
    let detail = asked.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("bank disputes the payment and has the money already"), "{detail}");
}
