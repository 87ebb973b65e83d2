//! A Temporal server for one test, set up as described in `temporal/`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;
use std::{env, io, mem};

use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// A server that runs until it is shut down or dropped.
///
/// The SDK's own (`temporalio_sdk::testing`) comes with what it takes to download a server. That would
/// be compiled into the programs too, because the tests of a program use this one.
pub struct Server {
    client: Client,
    process: Child,
}

impl Server {
    /// A client of the namespace `default`.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Kills the server, and waits for its end.
    ///
    /// # Errors
    ///
    /// When the process cannot be killed.
    pub async fn shutdown(mut self) -> io::Result<()> {
        self.process.kill().await
    }
}

/// Starts a server, and returns its address: host and port.
///
/// A plain function with a boxed future: the body of an `async fn` is compiled in every crate that
/// awaits it, and this one brings the code of all of Temporal's gRPC calls along.
#[must_use]
pub fn server() -> Pin<Box<dyn Future<Output = (Server, String)> + Send>> {
    Box::pin(started())
}

async fn started() -> (Server, String) {
    let cli = env::var("TEMPORAL_CLI")
        .expect("TEMPORAL_CLI names the temporal binary; `make test` sets it, or set it to yours");
    let address = format!("127.0.0.1:{}", port());
    let mut process = Command::new(cli)
        .args(arguments(&address))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the temporal binary does not start");
    let options = ConnectionOptions::new(Url::parse(&format!("http://{address}")).unwrap())
        .identity("testkit".to_owned())
        .build();
    // If the server never answers, the test runner's timeout ends the test.
    let connection = loop {
        match Connection::connect(options.clone()).await {
            Ok(connection) => break connection,
            Err(error) => {
                let ended = process.try_wait().unwrap();
                assert!(ended.is_none(), "Temporal ended by itself, {ended:?}: {error}");
                // It does not listen yet.
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let client = Client::new(connection, ClientOptions::new("default").build()).unwrap();
    (Server { client, process }, address)
}

/// A port that no other test gets while this process runs: two tests with the same port would share
/// a server, which stops with the first of them. Temporal can still listen on it: this socket does
/// not listen, and both sockets allow address reuse.
fn port() -> u16 {
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = held.local_addr().unwrap().port();
    mem::forget(held);
    port
}

fn arguments(address: &str) -> Vec<String> {
    let (ip, port) = address.split_once(':').unwrap();
    let server = "server start-dev --headless --log-level error".split(' ');
    let server = server.chain(["--ip", ip, "--port", port]);
    let attributes = include_str!("../../temporal/search-attributes.txt").lines();
    let attributes = attributes.filter_map(|line| {
        let (name, kind) = line.split_once(' ').filter(|(name, _)| *name != "#")?;
        Some([
            "--search-attribute".to_owned(),
            format!("{name}={}", kind.split_whitespace().next()?),
        ])
    });
    // One line with a name, followed by one with its value.
    let settings = include_str!("../../temporal/dynamic-config.yaml").lines();
    let settings: Vec<_> =
        settings.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let settings = settings.chunks(2).map(|setting| {
        let [name, value] = setting else { unreachable!("a setting is two lines: {setting:?}") };
        let (name, value) = (name.strip_suffix(':'), value.strip_prefix("  - value: "));
        let setting = format!("{}={}", name.unwrap(), value.unwrap());
        ["--dynamic-config-value".to_owned(), setting]
    });
    server.map(str::to_owned).chain(attributes.chain(settings).flatten()).collect()
}
