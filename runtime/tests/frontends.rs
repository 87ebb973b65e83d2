//! A cluster with one hanging frontend, against the Temporal server that `make test` starts.

#![cfg(test)]

use runtime::temporal::{Temporal, check};
use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::{ClientOptions, Url};
use tokio::net::TcpListener;

#[tokio::test]
async fn no_call_is_sent_to_a_frontend_that_hangs_while_another_one_answers() {
    // The kernel accepts its connections, and nobody reads from them.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = Url::parse(&format!("http://{}", hangs.local_addr().unwrap())).unwrap();
    let (connection, client) =
        ClientOptions::load_from_config(LoadClientConfigProfileOptions::default()).unwrap();
    let answering = connection.target.clone();
    let temporal =
        Temporal::at(connection, client, "ordersaga-test").through(vec![hung, answering]);
    let client = temporal.connect().await.unwrap();
    for _call in 0..10 {
        check(&client).await.unwrap();
    }
}
