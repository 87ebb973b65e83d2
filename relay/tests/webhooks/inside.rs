//! The relay never calls a server inside the shop's own network.

use relay::Verdict;
use relay::webhooks::WebhookSettings;
use runtime::http::outside::InternalHosts;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;

use crate::receiver::{Endpoint, Receiver, message, settings};

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_inside_is_told_if_its_host_is_listed_and_not_otherwise(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let nobody = WebhookSettings { internal_hosts: InternalHosts::default(), ..settings() };
    let port = receiver.url.trim_start_matches("http://127.0.0.1:").to_owned();
    for (url, expected) in [
        // Recorded while its host was on the list.
        (receiver.url.clone(), "its URL can no longer be used"),
        (format!("https://127.0.0.1:{port}"), "its URL can no longer be used"),
        (format!("https://[::ffff:127.0.0.1]:{port}"), "its URL can no longer be used"),
        (format!("https://localhost:{port}"), "its name leads into a private network"),
    ] {
        let endpoint = Endpoint::with(db.clone(), &url, &[], nobody.clone()).await;
        let verdicts = endpoint.deliver(&[message("a", 1)]).await;
        let Verdict::Unavailable { why, .. } = &verdicts[0] else { panic!("{url}: {verdicts:?}") };
        assert!(why.starts_with(expected), "{url}: {why}");
        let failing = sqlx::query_scalar!(
            r#"select failing_since is not null as "is_failing!" from webhooks.endpoints
               where endpoint_id = $1"#,
            endpoint.id,
        );
        assert!(failing.fetch_one(&db).await.unwrap(), "{url}");
    }
    assert_eq!(receiver.ids(), [""; 0]);

    // A host that is listed with a port is allowed on that port only.
    let elsewhere = "localhost:1".parse().unwrap();
    let elsewhere = WebhookSettings { internal_hosts: elsewhere, ..settings() };
    let url = format!("https://localhost:{port}");
    let endpoint = Endpoint::with(db.clone(), &url, &[], elsewhere).await;
    let verdicts = endpoint.deliver(&[message("a", 1)]).await;
    let Verdict::Unavailable { why, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
    assert!(why.starts_with("its URL can no longer be used"), "{why}");

    let listed = "localhost".parse().unwrap();
    let listed = WebhookSettings { internal_hosts: listed, ..settings() };
    let url = format!("http://localhost:{port}");
    let endpoint = Endpoint::with(db, &url, &[], listed).await;
    assert_eq!(endpoint.deliver(&[message("a", 1)]).await, [Verdict::Delivered]);
    assert_eq!(receiver.ids(), ["a:1"]);
}
