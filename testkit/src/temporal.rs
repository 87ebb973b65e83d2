//! A Temporal server for one test, set up as described in `temporal/`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::{env, mem};

use temporalio_sdk::testing::{
    EphemeralExe, LocalServer, LocalWorkflowEnvironmentOptions, WorkflowEnvironment,
};
use tokio::net::TcpSocket;

/// A server that runs until it is shut down.
pub type Server = WorkflowEnvironment<LocalServer>;

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
    loop {
        let port = port();
        let options = LocalWorkflowEnvironmentOptions::builder()
            .port(port)
            .server_executable(EphemeralExe::ExistingPath(cli.clone()))
            .extra_args(arguments())
            .build();
        match WorkflowEnvironment::start_local(options).await {
            Ok(server) => return (server, format!("127.0.0.1:{port}")),
            // On a busy machine, the SDK's five seconds are not always enough. If the server never
            // comes up, the test runner's timeout ends the test.
            Err(error) => tracing::warn!(%error, "retrying to start Temporal"),
        }
    }
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

fn arguments() -> Vec<String> {
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
    attributes.chain(settings).flatten().collect()
}
