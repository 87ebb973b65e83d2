//! Screened orders: what is counted and recorded, and who decides.

use activities::{ActivityFault, fraud};
use domain::screening::ScreeningAnswer;
use domain::{
    AddressId, CustomerId, Ending, Order, OrderId, Rejection, Screening, StepKey, StepName, Terms,
};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Uuid;
use workflows::order::UnwindingNote;

use crate::support::{
    RUN, Shop, assert_unavailable, fingerprint, order, paid_with, refusal, sent_to,
};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::ScreenOrder };

/// A screened order, with an hour for its review.
fn screened(number: u32) -> Order {
    screened_for(number, 3_600)
}

fn screened_for(number: u32, review_seconds: u32) -> Order {
    let order = order(number);
    let screening = Some(Screening { review_seconds });
    Order { terms: Terms { screening, ..order.terms }, ..order }
}

fn of_customer(mut order: Order, customer: &str) -> Order {
    order.customer_id = CustomerId::parse(customer).unwrap();
    order
}

/// The key of the screening before the payment, or after it.
fn key(order: &Order, attempt: u32) -> StepKey {
    StepKey { attempt, ..order.key(StepName::ScreenOrder) }
}

async fn screens(shop: &Shop, order: &Order) -> Result<ScreeningAnswer, ActivityFault> {
    fraud::screen(&shop.db, key(order, 1)).await
}

async fn withdraws(shop: &Shop, order: &Order) {
    fraud::withdraw(&shop.db, key(order, 1)).await.unwrap();
}

/// Activates these rules.
async fn rules(shop: &Shop, rules: &Value) -> u32 {
    let set = json!({
        "review_at": 50, "decline_at": 100, "review_default": "decline", "rules": rules,
    });
    add_rules(shop, &set).await
}

async fn add_rules(shop: &Shop, set: &Value) -> u32 {
    let version = brings_in(shop, set).await;
    assert_eq!(activates(shop, version).await, "activated");
    version.try_into().unwrap()
}

/// Adds these rules as the shadow set, as an operator does; returns their version.
async fn brings_in(shop: &Shop, set: &Value) -> i32 {
    let version =
        sqlx::query_scalar!(r#"select fraud.add_rule_set($1, 'eve', 'known') as "version!""#, set,);
    version.fetch_one(&shop.starter).await.unwrap()
}

/// Activates a version, as an operator does; returns the outcome.
async fn activates(shop: &Shop, version: i32) -> String {
    let outcome = sqlx::query_scalar!(
        r#"select fraud.activate_rule_set($1, 'eve', 'known') as "outcome!""#,
        version,
    );
    outcome.fetch_one(&shop.starter).await.unwrap()
}

/// The shadow set's decision about the order: its version, the verdict, and the findings.
async fn tried(shop: &Shop, order: &Order, attempt: i32) -> Option<(i32, String, Value)> {
    let row = sqlx::query!(
        "select rule_set, verdict, findings from fraud.trials
         where order_id = $1 and attempt = $2",
        order.order_id.uuid(),
        attempt,
    );
    let row = row.fetch_optional(&shop.db).await.unwrap();
    row.map(|row| (row.rule_set, row.verdict, row.findings))
}

fn rule(name: &str, when: &Value, verdict: &str) -> Value {
    json!({ "name": name, "mode": "active", "when": when, "effect": { "verdict": verdict } })
}

/// A condition: more than this many orders of the same subject in an hour.
fn at_most(orders: u32, of: &str) -> Value {
    let when = json!({ "velocity": { "of": of, "seconds": 3600, "more_than": orders } });
    rule("often", &when, "decline")
}

/// A condition that holds for every order.
fn everything() -> Value {
    json!({ "amount-above": { "amount": "0.01", "currency": "GBP" } })
}

#[track_caller]
fn passed(answer: Result<ScreeningAnswer, ActivityFault>) -> u32 {
    match answer.unwrap() {
        ScreeningAnswer::Passed { rule_set } => rule_set,
        answer @ ScreeningAnswer::Waits { .. } => panic!("it has not passed: {answer:?}"),
    }
}

#[track_caller]
fn waits(answer: Result<ScreeningAnswer, ActivityFault>) {
    let answer = answer.unwrap();
    assert!(matches!(answer, ScreeningAnswer::Waits { .. }), "{answer:?}");
}

/// The recorded screening of the order: the rules' version, the verdict, and the findings.
async fn on_record(shop: &Shop, order: &Order, attempt: i32) -> (i32, String, Value) {
    let row = sqlx::query!(
        "select rule_set, verdict, findings from fraud.screenings
         where order_id = $1 and attempt = $2",
        order.order_id.uuid(),
        attempt,
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (row.rule_set, row.verdict, row.findings)
}

/// A person decides about the order, as by the starter; returns the outcome.
async fn decides(shop: &Shop, order: &Order, decision: &str, by: &str) -> String {
    let decided = sqlx::query_scalar!(
        r#"select outcome as "outcome!" from fraud.decide($1, $2, $3, 'looked at it')"#,
        order.order_id.uuid(),
        decision,
        by,
    );
    decided.fetch_one(&shop.starter).await.unwrap()
}

/// The order's reviews, in order: decision and who decided.
async fn reviews(shop: &Shop, order: &Order) -> Vec<(Option<String>, Option<String>)> {
    let rows = sqlx::query!(
        "select decision, decided_by from fraud.reviews where order_id = $1 order by attempt",
        order.order_id.uuid(),
    );
    let rows = rows.fetch_all(&shop.starter).await.unwrap();
    rows.into_iter().map(|row| (row.decision, row.decided_by)).collect()
}

/// The deadline of the order's review passes.
async fn time_is_over(shop: &Shop, order: &Order) {
    sqlx::query!(
        "update fraud.reviews set review_until = now() where order_id = $1",
        order.order_id.uuid(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

async fn comes_from(shop: &Shop, order: &Order, network: &str) {
    sqlx::query!(
        "insert into fraud.origins (order_id, network) values ($1, $2::text::cidr)",
        order.order_id.uuid(),
        network,
    )
    .execute(&shop.starter)
    .await
    .unwrap();
}

/// Adds an order's subject, or a value, to a list, as the starter does.
async fn lists(shop: &Shop, list: &str, kind: &str, value: Option<&str>, order: Option<&Order>) {
    let entry = sqlx::query_scalar!(
        "select fraud.add_entry($1, $2, $3, $4, 'known', 'eve')",
        list,
        kind,
        value,
        order.map(|order| order.order_id.uuid()),
    );
    assert!(entry.fetch_one(&shop.starter).await.unwrap().is_some(), "{kind}");
}

/// Twenty orders at once, each with its own connection: exactly as many pass as are allowed.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_twenty_orders_at_once_as_many_pass_as_may_and_no_more(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(7, "customer"), at_most(7, "payment-method")])).await;
    let (pool, orders) = (shop.small_pool(20), (1..=20).map(screened).collect::<Vec<_>>());
    for order in &orders {
        shop.places(order).await;
    }
    let all = orders.iter().map(|order| fraud::screen(&pool, key(order, 1)));
    let answers = join_all(all).await;
    let passed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(passed, 7);
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(refusal(refused), Rejection::ScreeningDeclined);
    }
}

/// An order that is being counted in a long transaction makes others of the same customer wait, and
/// nobody else.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_waits_for_one_of_the_same_subject_that_is_just_counted(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(1, "customer")])).await;
    let (first, second) = (screened(1), paid_with(screened(2), "tok_other"));
    let stranger = of_customer(paid_with(screened(3), "tok_third"), "bob");
    for order in [&first, &second, &stranger] {
        shop.places(order).await;
    }
    let mut slow = shop.db.begin().await.unwrap();
    sqlx::query!(
        "select how_many from fraud.count_order($1, 1, '{customer}', '{3600}')",
        first.order_id.uuid(),
    )
    .fetch_all(&mut *slow)
    .await
    .unwrap();
    passed(screens(&shop, &stranger).await);
    let ends_it = async {
        shop.until_waiting(1).await;
        slow.commit().await.unwrap();
    };
    let (answer, ()) = futures::join!(screens(&shop, &second), ends_it);
    assert_eq!(refusal(answer), Rejection::ScreeningDeclined);
    passed(screens(&shop, &first).await);
}

/// Orders that share two subjects, given in opposite order.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_that_share_several_subjects_do_not_deadlock(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(1_000, "customer"), at_most(1_000, "payment-method")])).await;
    let pool = shop.small_pool(16);
    let mut orders = Vec::new();
    let pairs = [("ada", "tok_b"), ("bob", "tok_a"), ("ada", "tok_a")];
    for (number, (customer, token)) in (1..=48).zip(pairs.into_iter().cycle()) {
        let order = of_customer(paid_with(screened(number), token), customer);
        shop.places(&order).await;
        orders.push(order);
    }
    let all = orders.iter().map(|order| fraud::screen(&pool, key(order, 1)));
    for answer in join_all(all).await {
        passed(answer);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_has_the_first_answer_again_whatever_comes_after_it(db: PgPool) {
    let shop = Shop::on(db);
    let version = rules(&shop, &json!([at_most(1, "customer")])).await;
    let (first, second) = (screened(1), screened(2));
    for order in [&first, &second] {
        shop.places(order).await;
    }
    assert_eq!(passed(screens(&shop, &first).await), version);
    assert_eq!(refusal(screens(&shop, &second).await), Rejection::ScreeningDeclined);
    // The rules change; the first answer stays.
    rules(&shop, &json!([rule("all", &everything(), "decline")])).await;
    assert_eq!(passed(screens(&shop, &first).await), version);
    assert_eq!(refusal(screens(&shop, &second).await), Rejection::ScreeningDeclined);
    let (rule_set, verdict, findings) = on_record(&shop, &second, 1).await;
    assert_eq!((u32::try_from(rule_set), verdict.as_str()), (Ok(version), "decline"));
    assert_eq!(
        findings,
        json!([{
            "rule": "often", "mode": "active", "effect": { "verdict": "decline" },
            "why": "2 orders of the same customer within 3600 s, more than 1",
        }])
    );
}

/// The worker died after it had counted the order, and before it recorded an answer.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_counted_twice_keeps_its_place(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(1, "customer")])).await;
    let (first, second) = (screened(1), screened(2));
    for order in [&first, &second] {
        shop.places(order).await;
    }
    sqlx::query!(
        "select how_many from fraud.count_order($1, 1, '{customer}', '{3600}')",
        first.order_id.uuid(),
    )
    .fetch_all(&shop.db)
    .await
    .unwrap();
    assert_eq!(refusal(screens(&shop, &second).await), Rejection::ScreeningDeclined);
    passed(screens(&shop, &first).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_rule_that_is_tried_out_is_on_record_and_stops_nobody(db: PgPool) {
    let (shop, order) = (Shop::on(db), screened(1));
    let mut shadow = rule("tried out", &everything(), "decline");
    shadow["mode"] = json!("shadow");
    rules(&shop, &json!([shadow])).await;
    shop.places(&order).await;
    passed(screens(&shop, &order).await);
    let (_, verdict, findings) = on_record(&shop, &order, 1).await;
    assert_eq!(verdict, "approve");
    assert_eq!(
        (&findings[0]["rule"], &findings[0]["mode"]),
        (&json!("tried out"), &json!("shadow"))
    );
}

/// A rule set in which some rules look back further than the active ones.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_set_that_is_tried_out_decides_nothing_until_it_is_activated(db: PgPool) {
    let shop = Shop::on(db);
    let active = rules(&shop, &json!([at_most(5, "customer")])).await;
    let further = json!({ "velocity": { "of": "customer", "seconds": 7200, "more_than": 1 } });
    let strict = json!({
        "review_at": 50, "decline_at": 100, "review_default": "decline",
        "rules": [
            rule("further", &further, "decline"),
            rule("home", &json!("method-country"), "review"),
        ],
    });
    let orders: Vec<_> = (1..=5).map(screened).collect();
    let [before, first, second, third, fourth] = &orders[..] else { panic!("five orders") };
    for order in &orders {
        shop.places(order).await;
    }
    assert_eq!(passed(screens(&shop, before).await), active);
    assert_eq!(tried(&shop, before, 1).await, None);

    let version = brings_in(&shop, &strict).await;
    // On a repeat, the step has its answer, and tries nothing.
    for order in [before, first, first] {
        assert_eq!(passed(screens(&shop, order).await), active);
    }
    assert_eq!(tried(&shop, before, 1).await, None);
    let (rule_set, verdict, findings) = tried(&shop, first, 1).await.unwrap();
    assert_eq!((rule_set, verdict.as_str()), (version, "decline"));
    let why = "2 orders of the same customer within 7200 s, more than 1";
    assert_eq!((&findings[0]["rule"], &findings[0]["why"]), (&json!("further"), &json!(why)));
    let (rule_set, verdict, findings) = on_record(&shop, first, 1).await;
    assert_eq!((u32::try_from(rule_set), verdict.as_str()), (Ok(active), "approve"));
    assert_eq!(findings, json!([]));
    // At the second screening, too.
    fraud::screen(&shop.db, key(first, 2)).await.unwrap();
    assert_eq!(tried(&shop, first, 2).await.unwrap().1, "approve");

    assert_eq!(activates(&shop, version).await, "activated");
    assert_eq!(activates(&shop, version).await, "active");
    assert_eq!(activates(&shop, 99).await, "unknown");
    assert_eq!(refusal(screens(&shop, second).await), Rejection::ScreeningDeclined);
    assert_eq!(tried(&shop, second, 1).await, None, "nothing is tried out any more");
    // The earlier set is active again, and the set that was active is not tried.
    assert_eq!(activates(&shop, active.try_into().unwrap()).await, "activated");
    assert_eq!(passed(screens(&shop, third).await), active);
    assert_eq!(tried(&shop, third, 1).await, None);

    // A set that this release does not understand stops nobody.
    brings_in(&shop, &json!({ "rules": [{ "name": "misspelt" }] })).await;
    assert_eq!(passed(screens(&shop, fourth).await), active);
    assert_eq!(tried(&shop, fourth, 1).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn which_set_counted_when_is_never_rewritten(db: PgPool) {
    let shop = Shop::on(db);
    for statement in [
        "update fraud.activations set rule_set = 1",
        "delete from fraud.activations",
        "update fraud.rule_sets set rules = rules",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&shop.owner).await;
        assert!(refused.is_err(), "{statement}");
    }
}

/// A new shop's rules let every ordinary order pass.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_rules_that_a_shop_begins_with_try_velocity_out(db: PgPool) {
    let shop = Shop::on(db);
    for number in 1..=12 {
        let order = screened(number);
        shop.places(&order).await;
        assert_eq!(passed(screens(&shop, &order).await), 1);
        fraud::screen(&shop.db, key(&order, 2)).await.unwrap();
    }
    let (_, _, findings) = on_record(&shop, &screened(12), 1).await;
    let told = findings.to_string();
    assert!(told.contains("customer-hourly") && told.contains("shadow"), "{told}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn rules_that_nobody_understands_have_orders_wait(db: PgPool) {
    let (shop, order) = (Shop::on(db), screened(1));
    rules(&shop, &json!([{ "name": "misspelt" }])).await;
    shop.places(&order).await;
    assert_unavailable(screens(&shop, &order).await, None);
    rules(&shop, &json!([])).await;
    passed(screens(&shop, &order).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_are_counted_by_address_and_network_whoever_orders(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(1, "address"), at_most(1, "network")])).await;
    let address = |line1: &str| json!({ "name": "Ada", "line1": line1, "city": "London", "postal_code": "N1 9GU" });
    let lives = |number: u32, customer: &str| {
        let id = AddressId::of(Uuid::from_u128(number.into()));
        of_customer(sent_to(screened(number), "GB", Some(id)), customer)
    };
    let (ada, bob, eve) = (lives(1, "ada"), lives(2, "bob"), lives(3, "eve"));
    for (order, line1) in
        [(&ada, "12 Sample Street"), (&bob, "12, SAMPLE  street"), (&eve, "13 Sample Street")]
    {
        shop.places_as(order, &fingerprint(order), Some(address(line1))).await;
    }
    comes_from(&shop, &ada, "203.0.113.0/24").await;
    comes_from(&shop, &eve, "203.0.113.0/24").await;
    passed(screens(&shop, &ada).await);
    assert_eq!(refusal(screens(&shop, &bob).await), Rejection::ScreeningDeclined);
    assert_eq!(refusal(screens(&shop, &eve).await), Rejection::ScreeningDeclined);
    let why = |findings: &Value| findings[0]["why"].as_str().unwrap().to_owned();
    let told = why(&on_record(&shop, &eve, 1).await.2);
    assert!(told.contains("the same network") && !told.contains("203.0.113"), "{told}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn who_is_blocked_is_declined_and_who_is_allowed_passes(db: PgPool) {
    let shop = Shop::on(db);
    rules(
        &shop,
        &json!([
            rule("all", &everything(), "review"),
            rule("blocked", &json!({ "listed": "block" }), "decline"),
            rule("allowed", &json!({ "listed": "allow" }), "approve"),
        ]),
    )
    .await;
    let orders: Vec<_> = (1..=4).map(screened).collect();
    let [bad, good, both, unknown] = &orders[..] else { panic!("four orders") };
    let bad = &paid_with(of_customer(bad.clone(), "bad"), "tok_stolen");
    let good = &of_customer(good.clone(), "good");
    let both = &paid_with(of_customer(both.clone(), "good"), "tok_stolen");
    for order in [bad, good, both, unknown] {
        shop.places(order).await;
    }
    lists(&shop, "block", "payment-method", None, Some(bad)).await;
    lists(&shop, "allow", "customer", Some("good"), None).await;
    assert_eq!(refusal(screens(&shop, bad).await), Rejection::ScreeningDeclined);
    passed(screens(&shop, good).await);
    assert_eq!(refusal(screens(&shop, both).await), Rejection::ScreeningDeclined);
    waits(screens(&shop, unknown).await);
    // A subject that is listed again is only on the newer list.
    lists(&shop, "allow", "payment-method", Some("tok_stolen"), None).await;
    let again = paid_with(screened(5), "tok_stolen");
    shop.places(&again).await;
    passed(screens(&shop, &again).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_listed_and_counted_is_kept_as_a_fingerprint(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(screened(1), "tok_secretly"));
    shop.places(&order).await;
    passed(screens(&shop, &order).await);
    lists(&shop, "block", "payment-method", None, Some(&order)).await;
    let kept = sqlx::query_scalar!(
        r#"select string_agg(line, ' ') as "kept!" from (
               select counted::text as line from fraud.counted
               union all select entries::text from fraud.entries
               union all select screenings::text from fraud.screenings
           ) as kept"#
    );
    let kept = kept.fetch_one(&shop.owner).await.unwrap();
    assert!(kept.contains("payment-method") && !kept.contains("tok_secretly"), "{kept}");
    for role in [&shop.db, &shop.starter] {
        let secret = sqlx::query!("select fingerprint_key from fraud.secrets");
        assert!(secret.fetch_one(role).await.is_err(), "a program has read the key");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_goes_on_by_a_persons_decision_once(db: PgPool) {
    let (shop, approved, declined) = (Shop::on(db), screened(1), screened(2));
    let version = rules(&shop, &json!([rule("all", &everything(), "review")])).await;
    for order in [&approved, &declined] {
        shop.places(order).await;
        assert_eq!(decides(&shop, order, "approve", "eve").await, "not-waiting");
        let (first, second) = futures::join!(screens(&shop, order), screens(&shop, order));
        waits(first);
        waits(second);
        assert_eq!(shop.events_of(order).await, ["order.placed", "order.review-needed"]);
    }
    assert_eq!(decides(&shop, &approved, "approve", "eve").await, "decided");
    assert_eq!(decides(&shop, &approved, "approve", "eve").await, "repeated");
    assert_eq!(decides(&shop, &approved, "decline", "eve").await, "not-waiting");
    assert_eq!(decides(&shop, &approved, "approve", "fay").await, "not-waiting");
    assert_eq!(passed(screens(&shop, &approved).await), version);
    assert_eq!(decides(&shop, &declined, "decline", "eve").await, "decided");
    assert_eq!(refusal(screens(&shop, &declined).await), Rejection::ScreeningDeclined);
    let events = ["order.placed", "order.review-needed", "order.reviewed"];
    for order in [&approved, &declined] {
        assert_eq!(shop.events_of(order).await, events);
    }
    let decided = |decision: &str| (Some(decision.to_owned()), Some("eve".to_owned()));
    assert_eq!(reviews(&shop, &approved).await, [decided("approve")]);
    assert_eq!(reviews(&shop, &declined).await, [decided("decline")]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_deadline_decides_as_the_rules_have_it_and_a_person_comes_too_late(db: PgPool) {
    let shop = Shop::on(db);
    for (number, default) in [(1, "approve"), (2, "decline")] {
        let set = json!({
            "review_at": 1, "decline_at": 2, "review_default": default,
            "rules": [rule("all", &everything(), "review")],
        });
        let (version, order) = (add_rules(&shop, &set).await, screened(number));
        shop.places(&order).await;
        waits(screens(&shop, &order).await);
        time_is_over(&shop, &order).await;
        assert_eq!(decides(&shop, &order, "approve", "eve").await, "too-late");
        let answer = screens(&shop, &order).await;
        if default == "approve" {
            assert_eq!(passed(answer), version);
        } else {
            assert_eq!(refusal(answer), Rejection::ScreeningDeclined);
        }
        assert_eq!(reviews(&shop, &order).await, [(Some(default.to_owned()), None)]);
        assert_eq!(decides(&shop, &order, "approve", "eve").await, "not-waiting");
    }
    // Without any time, it is decided at once.
    let at_once = screened_for(3, 0);
    shop.places(&at_once).await;
    assert_eq!(refusal(screens(&shop, &at_once).await), Rejection::ScreeningDeclined);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_a_person_and_the_deadline_only_one_decides(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([rule("all", &everything(), "review")])).await;
    for number in 1..=10 {
        let order = screened(number);
        shop.places(&order).await;
        waits(screens(&shop, &order).await);
        let over = async {
            time_is_over(&shop, &order).await;
            screens(&shop, &order).await
        };
        let (decided, answer) = futures::join!(decides(&shop, &order, "approve", "eve"), over);
        if decided == "decided" {
            passed(answer);
        } else {
            assert_eq!(refusal(answer), Rejection::ScreeningDeclined, "{decided}");
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_undone_counts_no_more_and_waits_for_nobody(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(1, "customer")])).await;
    let (first, second) = (screened(1), screened(2));
    shop.places(&first).await;
    passed(screens(&shop, &first).await);
    shop.unwinds(&first).await;
    withdraws(&shop, &first).await;
    withdraws(&shop, &first).await;
    assert_eq!(refusal(screens(&shop, &first).await), LATE);
    shop.places(&second).await;
    passed(screens(&shop, &second).await);

    rules(&shop, &json!([rule("all", &everything(), "review")])).await;
    let waiting = screened(3);
    shop.places(&waiting).await;
    waits(screens(&shop, &waiting).await);
    shop.unwinds(&waiting).await;
    assert_eq!(decides(&shop, &waiting, "approve", "eve").await, "not-waiting");
    withdraws(&shop, &waiting).await;
    assert_eq!(reviews(&shop, &waiting).await, [(Some("withdrawn".to_owned()), None)]);
    assert_eq!(decides(&shop, &waiting, "approve", "eve").await, "not-waiting");
    assert_eq!(refusal(screens(&shop, &waiting).await), LATE);
}

/// A late attempt of the step counts after the undo.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_undone_first_is_not_counted_afterwards(db: PgPool) {
    let shop = Shop::on(db);
    let (undone, next) = (screened(1), screened(2));
    rules(&shop, &json!([at_most(1, "customer")])).await;
    for order in [&undone, &next] {
        shop.places(order).await;
    }
    withdraws(&shop, &undone).await;
    let counted = sqlx::query!(
        "select how_many from fraud.count_order($1, 1, '{customer}', '{3600}')",
        undone.order_id.uuid(),
    );
    assert_eq!(counted.fetch_all(&shop.db).await.unwrap().len(), 0);
    assert_eq!(refusal(screens(&shop, &undone).await), LATE);
    passed(screens(&shop, &next).await);
}

/// A thief who tries one card after the other is declined by the banks each time.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_was_declined_goes_on_counting(db: PgPool) {
    let shop = Shop::on(db);
    rules(&shop, &json!([at_most(2, "customer")])).await;
    let declines = [
        Rejection::CardDeclined { decline_code: "lost_card".to_owned() },
        Rejection::ScreeningDeclined,
    ];
    for (number, rejection) in (1..).zip(declines) {
        let order = screened(number);
        shop.places(&order).await;
        passed(screens(&shop, &order).await);
        let ending = Ending::Rejected { rejection };
        let note = UnwindingNote { order_id: order.order_id, ending };
        activities::orders::note_unwinding(&shop.db, &note, RUN).await.unwrap();
        withdraws(&shop, &order).await;
    }
    let third = screened(3);
    shop.places(&third).await;
    assert_eq!(refusal(screens(&shop, &third).await), Rejection::ScreeningDeclined);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_provider_says_of_a_payment_is_looked_at_before_it_is_captured(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for (number, token, is_stopped, risk) in [
        (1, "tok_visa", false, "normal"),
        (2, "tok_risk_elevated", true, "elevated"),
        (3, "tok_from_US", false, "normal"),
    ] {
        let order = paid_with(screened(number), token);
        shop.places(&order).await;
        passed(screens(&shop, &order).await);
        shop.authorises(&order).await.unwrap();
        let answer = fraud::screen(&shop.db, key(&order, 2)).await;
        if is_stopped {
            waits(answer);
            assert_eq!(decides(&shop, &order, "approve", "eve").await, "decided");
            passed(fraud::screen(&shop.db, key(&order, 2)).await);
        } else {
            passed(answer);
        }
        let known = sqlx::query!(
            "select risk_level, method_country from fraud.screenings
             where order_id = $1 and attempt = 2",
            order.order_id.uuid(),
        );
        let known = known.fetch_one(&shop.db).await.unwrap();
        assert_eq!(known.risk_level.as_deref(), Some(risk), "{token}");
        let country = (token == "tok_from_US").then_some("US");
        assert_eq!(known.method_country.as_deref(), country, "{token}");
    }
    // The provider itself declines the highest risk.
    let order = paid_with(screened(4), "tok_risk_highest");
    shop.places(&order).await;
    let declined = Rejection::CardDeclined { decline_code: "fraudulent".to_owned() };
    assert_eq!(refusal(shop.authorises(&order).await), declined);
}

/// A lost run has come as far as the second review; the undoing run only knows the first screening.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_that_knows_of_the_first_screening_alone_withdraws_the_second_too(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let orders =
        [paid_with(screened(1), "tok_risk_elevated"), paid_with(screened(2), "tok_risk_elevated")];
    for order in &orders {
        shop.places(order).await;
        passed(screens(&shop, order).await);
        shop.authorises(order).await.unwrap();
    }
    let [asked, late] = &orders;
    waits(fraud::screen(&shop.db, key(asked, 2)).await);
    for order in &orders {
        withdraws(&shop, order).await;
    }
    assert_eq!(reviews(&shop, asked).await, [(Some("withdrawn".to_owned()), None)]);
    assert_eq!(refusal(fraud::screen(&shop.db, key(late, 2)).await), LATE);
    assert!(reviews(&shop, late).await.is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_first_order_and_an_unusual_country_are_told_from_what_was_completed(db: PgPool) {
    let shop = Shop::stocked(db).await;
    rules(
        &shop,
        &json!([
            rule("new", &json!("first-order"), "review"),
            rule("elsewhere", &json!("unusual-country"), "decline"),
        ]),
    )
    .await;
    let first = screened(1);
    shop.takes_up_to_posting(&first).await;
    waits(screens(&shop, &first).await);
    assert_eq!(decides(&shop, &first, "approve", "eve").await, "decided");
    shop.ships(&first).await.unwrap();
    shop.recognises(&first).await.unwrap();
    let second = screened(2);
    shop.places(&second).await;
    passed(screens(&shop, &second).await);
    let abroad = sent_to(screened(3), "FR", None);
    shop.places(&abroad).await;
    assert_eq!(refusal(screens(&shop, &abroad).await), Rejection::ScreeningDeclined);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_screening_of_an_order_that_is_not_on_record_does_nothing(db: PgPool) {
    let shop = Shop::on(db);
    let nobody = StepKey {
        order_id: OrderId::of(Uuid::from_u128(7)),
        step: StepName::ScreenOrder,
        version: 1,
        attempt: 1,
    };
    let fault = fraud::screen(&shop.db, nobody).await.unwrap_err();
    assert!(matches!(fault, ActivityFault::NotOpen { ended: None, .. }), "{fault:?}");
    let fault = fraud::withdraw(&shop.db, nobody).await.unwrap_err();
    assert!(matches!(fault, ActivityFault::NotOpen { .. }), "{fault:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_orders_are_counted_by_is_removed_after_its_time(db: PgPool) {
    let (shop, order) = (Shop::on(db), screened(1));
    shop.places(&order).await;
    comes_from(&shop, &order, "203.0.113.0/24").await;
    passed(screens(&shop, &order).await);
    let removed = async || {
        let removed = sqlx::query_scalar!(
            r#"select removed as "removed!"
               from operations.sweep(interval '30 days', interval '30 days', 100)
               where what = 'what orders were counted by'"#
        );
        removed.fetch_one(&shop.db).await.unwrap()
    };
    assert_eq!(removed().await, 0, "their time is not up");
    sqlx::query!(
        "with counted as (
             update fraud.counted set counted_at = counted_at - interval '31 days'
         )
         update fraud.origins set recorded_at = recorded_at - interval '31 days'"
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    // The network, and the customer, payment method and network that it was counted by.
    assert_eq!(removed().await, 4);
    assert_eq!(on_record(&shop, &order, 1).await.1, "approve", "what was decided stays");
}
