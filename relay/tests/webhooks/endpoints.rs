//! The states of endpoints, and who may change them.

use domain::event::EventType;
use relay::webhooks::WebhookSettings;
use relay::{SinkSource as _, Verdict};
use runtime::http::outside::InternalHosts;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;

use crate::receiver::{Answer, Endpoint, Receiver, message, settings, tried_out};

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_that_is_gone_is_disabled_and_its_messages_wait(db: PgPool) {
    let receiver = Receiver::answering([Answer::Status(410)]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let verdicts = endpoint.deliver(&[message("a", 1), message("a", 2)]).await;
    assert!(matches!(verdicts[0], Verdict::Unavailable { .. }), "{verdicts:?}");
    assert_eq!(endpoint.standing().await, (Some("gone".to_owned()), true));
    // Resuming the sink does not enable the endpoint.
    let verdicts = endpoint.deliver(&[message("a", 1), message("b", 1), message("a", 2)]).await;
    assert!(matches!(verdicts[1], Verdict::Unavailable { .. }), "{verdicts:?}");
    assert_eq!(verdicts[2], Verdict::NotTried);
    assert_eq!(receiver.ids(), ["a:1"]);

    let enabled = sqlx::query_scalar!(
        r#"select webhooks.change_endpoint($1, null, null, null, true, 'eve') as "is_known!""#,
        endpoint.id,
    );
    assert!(enabled.fetch_one(&endpoint.database).await.unwrap());
    assert_eq!(endpoint.standing().await, (None, false));
    assert_eq!(endpoint.deliver(&[message("a", 1)]).await, [Verdict::Delivered]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_operators_pause_of_a_sink_outlives_that_its_endpoint_is_enabled(db: PgPool) {
    let endpoint = Endpoint::at(db, "http://127.0.0.1:9/").await;
    sqlx::query!("select outbox.pause(sink, true, 'eve', 'an incident') from outbox.sinks")
        .fetch_one(&endpoint.database)
        .await
        .unwrap();
    for to_be_enabled in [false, true] {
        sqlx::query_scalar!(
            "select webhooks.change_endpoint($1, null, null, null, $2, 'eve')",
            endpoint.id,
            to_be_enabled,
        )
        .fetch_one(&endpoint.database)
        .await
        .unwrap();
    }
    assert_eq!(endpoint.standing().await, (None, true));
}

/// For how many days an endpoint has been failing.
async fn failing_days(endpoint: &Endpoint) -> Option<i32> {
    let days = sqlx::query_scalar!(
        r#"select extract(day from now() - failing_since)::integer
           from webhooks.endpoints where endpoint_id = $1"#,
        endpoint.id,
    );
    days.fetch_one(&endpoint.database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_that_takes_nothing_for_days_is_disabled_and_one_that_does_begins_anew(
    db: PgPool,
) {
    let answers = [401, 204, 401, 401, 401].map(Answer::Status);
    let receiver = Receiver::answering(answers).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let batch = [message("a", 1)];
    let verdicts = endpoint.deliver(&batch).await;
    assert!(matches!(verdicts[0], Verdict::NotTaken { .. }), "{verdicts:?}");
    assert_eq!(failing_days(&endpoint).await, Some(0));
    failed_before(&endpoint, 9, 0).await;
    assert_eq!(endpoint.deliver(&batch).await, [Verdict::Delivered]);
    assert_eq!(failing_days(&endpoint).await, None);

    endpoint.deliver(&batch).await;
    failed_before(&endpoint, 4, 0).await;
    endpoint.deliver(&batch).await;
    assert_eq!(endpoint.standing().await, (None, false));
    failed_before(&endpoint, 6, 0).await;
    endpoint.deliver(&batch).await;
    assert_eq!(endpoint.standing().await, (Some("failing".to_owned()), true));
}

/// Dates its failures back: the first one by days, the last one by hours.
async fn failed_before(endpoint: &Endpoint, first_days: i32, last_hours: i32) {
    sqlx::query!(
        "update webhooks.endpoints
         set failing_since = now() - make_interval(days => $1),
             last_failed_at = now() - make_interval(hours => $2)",
        first_days,
        last_hours,
    )
    .execute(&endpoint.database)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn failures_that_do_not_follow_each_other_disable_no_endpoint(db: PgPool) {
    let receiver = Receiver::answering([503; 3].map(Answer::Status)).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let batch = [message("a", 1)];
    endpoint.deliver(&batch).await;
    // Nothing was sent between the first failure and the second.
    failed_before(&endpoint, 9, 9 * 24).await;
    endpoint.deliver(&batch).await;
    assert_eq!(endpoint.standing().await, (None, false));
    assert_eq!(failing_days(&endpoint).await, Some(0));
    // Messages were sent repeatedly, and none was accepted.
    failed_before(&endpoint, 9, 1).await;
    endpoint.deliver(&batch).await;
    assert_eq!(endpoint.standing().await, (Some("failing".to_owned()), true));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_that_fails_when_it_is_tried_out_is_not_failing(db: PgPool) {
    let receiver = Receiver::answering([503; 3].map(Answer::Status)).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let try_out = async || {
        tried_out(&endpoint).await;
        assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
        // It is not retried automatically.
        sqlx::query!("delete from webhooks.sends").execute(&endpoint.database).await.unwrap();
    };
    try_out().await;
    assert_eq!(failing_days(&endpoint).await, None);
    // Nor does it add to the endpoint's failures.
    endpoint.deliver(&[message("a", 1)]).await;
    failed_before(&endpoint, 9, 1).await;
    try_out().await;
    assert_eq!(endpoint.standing().await, (None, false));
    // An accepted trial shows that it works.
    try_out().await;
    assert_eq!(failing_days(&endpoint).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_came_of_a_trial_is_on_record_though_nothing_could_be_sent(db: PgPool) {
    let nowhere = WebhookSettings { internal_hosts: InternalHosts::default(), ..settings() };
    let endpoint = Endpoint::with(db, "https://127.0.0.1/", &[], nowhere).await;
    tried_out(&endpoint).await;
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    let failures = sqlx::query_scalar!(r#"select failure as "failure!" from webhooks.deliveries"#);
    let failures = failures.fetch_all(&endpoint.database).await.unwrap();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].starts_with("its URL can no longer be used"), "{failures:?}");
    assert_eq!(failing_days(&endpoint).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_operators_change_counts_from_the_next_batch_on(db: PgPool) {
    let (old, new) = (Receiver::answering([]).await, Receiver::answering([]).await);
    let events = [EventType::OrderPlaced];
    let endpoint = Endpoint::with(db, &old.url, &events, settings()).await;
    endpoint.deliver(&[message("a", 1)]).await;
    sqlx::query_scalar!(
        "select webhooks.change_endpoint($1, $2, null, array['order.shipped'], null, 'eve')",
        endpoint.id,
        new.url,
    )
    .fetch_one(&endpoint.database)
    .await
    .unwrap();
    assert_eq!(endpoint.deliver(&[message("a", 2)]).await, [Verdict::NotWanted]);
    assert_eq!((old.ids().len(), new.ids().len()), (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn each_endpoint_is_a_sink_until_it_is_removed(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let webhooks = &endpoint.webhooks;
    let listed = webhooks.list().await.unwrap();
    let names: Vec<_> = listed.iter().map(|listed| listed.name.to_string()).collect();
    assert_eq!(names, [format!("webhook:{}", endpoint.id)]);
    let sink = webhooks.open(&listed[0]).await.unwrap();
    assert_eq!(sink.deliver(&[message("a", 1)]).await, [Verdict::Delivered]);

    let removed = sqlx::query_scalar!(
        r#"select webhooks.remove_endpoint($1) as "is_removed!""#,
        endpoint.id,
    );
    assert!(removed.fetch_one(&endpoint.database).await.unwrap());
    assert!(webhooks.list().await.unwrap().is_empty());
    // A relay that has listed it just before comes too late.
    relay::leases::register(&endpoint.database, &listed[0]).await.unwrap();
    webhooks.sweep().await.unwrap();
    let sinks = sqlx::query_scalar!(r#"select count(*) as "sinks!" from outbox.sinks"#);
    assert_eq!(sinks.fetch_one(&endpoint.database).await.unwrap(), 0);
    let verdicts = sink.deliver(&[message("a", 2)]).await;
    assert!(matches!(verdicts[0], Verdict::Unavailable { .. }), "{verdicts:?}");
}

/// The SQLSTATE with which Postgres rejects this role's statement.
async fn refused(db: &PgPool, role: &str, statement: &'static str) -> Option<String> {
    let role = testkit::as_role(db, role);
    let refusal = sqlx::raw_sql(statement).execute(&role).await.err();
    refusal.map(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn secrets_are_read_by_the_relay_alone_and_endpoints_changed_by_the_starter_alone(
    db: PgPool,
) {
    let not_allowed = || Some("42501".to_owned());
    for (role, statement) in [
        ("ordersaga_starter", "select key from webhooks.secrets"),
        ("ordersaga_starter", "update webhooks.secrets set expires_at = now()"),
        ("ordersaga_starter", "update webhooks.endpoints set url = 'https://elsewhere.example'"),
        ("ordersaga_starter", "delete from webhooks.deliveries"),
        ("ordersaga_worker", "select key from webhooks.secrets"),
        ("ordersaga_relay", "update webhooks.endpoints set url = 'https://elsewhere.example'"),
        ("ordersaga_relay", "delete from webhooks.endpoints"),
        ("ordersaga_relay", "select webhooks.try_out(gen_random_uuid(), 'eve')"),
    ] {
        assert_eq!(refused(&db, role, statement).await, not_allowed(), "{role}: {statement}");
    }
    for (role, statement) in [
        ("ordersaga_starter", "select created_at, expires_at from webhooks.secrets"),
        ("ordersaga_relay", "select key from webhooks.secrets"),
    ] {
        assert_eq!(refused(&db, role, statement).await, None, "{role}: {statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_log_is_kept_for_as_long_as_the_settings_say(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    endpoint.deliver(&[message("a", 1), message("b", 1)]).await;
    sqlx::query!(
        "update webhooks.deliveries set attempted_at = now() - interval '31 days'
         where message_id = 'a:1'"
    )
    .execute(&endpoint.database)
    .await
    .unwrap();
    assert_eq!(endpoint.webhooks.sweep().await.unwrap(), 1);
    let left = sqlx::query_scalar!("select message_id from webhooks.deliveries");
    assert_eq!(left.fetch_all(&endpoint.database).await.unwrap(), ["b:1"]);
}
