//! The connection to Temporal, from the SDK's own settings: `TEMPORAL_ADDRESS`,
//! `TEMPORAL_NAMESPACE`, `TEMPORAL_TLS_…`, `TEMPORAL_API_KEY`, or a profile of its config file. If
//! `ORDERSAGA_TEMPORAL_FRONTENDS` lists the cluster's frontends, calls are balanced over them.

mod frontends;

use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::{IntoRequest as _, Status};
use temporalio_client::{
    Client, ClientKeepAliveOptions, ClientOptions, ConnectionOptions, GrpcCompression,
    NamespacedClient as _, RetryOptions, Url,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use temporalio_common::telemetry::metrics::TemporalMeter;
use tokio::sync::OnceCell;

use crate::process_name;

/// The time limit of one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A dead connection is detected after the sum of both. Temporal closes connections that ping more
/// often than every 10 s (`frontend.keepAliveMinTime`).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// A list of the cluster's frontends. It is not one of the SDK's settings, because Temporal's own
/// command line reads those too and supports only one address.
const FRONTENDS: &str = "ORDERSAGA_TEMPORAL_FRONTENDS";

/// A lazily established connection to Temporal. Clones share it.
#[derive(Clone)]
pub struct Temporal {
    target: Arc<(ConnectionOptions, ClientOptions)>,
    /// The frontends to call instead of the target's address.
    frontends: Arc<[Url]>,
    client: Arc<OnceCell<Client>>,
}

/// The SDK rejects its settings; the text is its error message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Temporal's settings: {0}")]
pub struct BadSettings(String);

/// Why Temporal cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It does not answer.
    #[error("Temporal does not answer")]
    NoAnswer(#[from] ClientConnectError),
    /// It answers, but does not know the namespace or refuses this client.
    #[error("the namespace cannot be used: {}", .0.message())]
    NoNamespace(#[source] Box<Status>),
}

impl fmt::Debug for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold an API key.
        let frontends: Vec<_> = self.frontends.iter().map(Url::as_str).collect();
        f.debug_struct("Temporal")
            .field("address", &self.address())
            .field("frontends", &frontends)
            .finish_non_exhaustive()
    }
}

impl Temporal {
    /// Reads the SDK's settings. `program` is the client identity shown by Temporal.
    pub fn from_env(program: &str) -> Result<Self, BadSettings> {
        let (connection, client) =
            ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
                .map_err(|error| BadSettings(error.to_string()))?;
        let frontends = env::var(FRONTENDS).unwrap_or_default();
        let frontends = frontends::addresses(&frontends, connection.tls_options.is_some())?;
        Ok(Self::at(connection, client, program).through(frontends))
    }

    /// Connects to the given cluster.
    #[must_use]
    pub fn at(mut connection: ConnectionOptions, client: ClientOptions, program: &str) -> Self {
        // Within one network, compression costs a fifth of a worker's CPU time and saves nothing.
        connection.grpc_compression = GrpcCompression::None;
        connection.connect_timeout = Some(CONNECT_TIMEOUT);
        connection.keep_alive = Some(
            ClientKeepAliveOptions::builder()
                .interval(KEEP_ALIVE_INTERVAL)
                .timeout(KEEP_ALIVE_TIMEOUT)
                .build(),
        );
        connection.identity = format!("{program} {}", process_name());
        let target = Arc::new((connection, client));
        Self { target, frontends: Arc::default(), client: Arc::default() }
    }

    /// Balances calls over these frontends of the cluster; if empty, calls the original address.
    /// Call it before the first use.
    #[must_use]
    pub fn through(self, frontends: Vec<Url>) -> Self {
        Self { frontends: frontends.into(), ..self }
    }

    /// Counts the connection's calls in the metrics. Call it before the first use.
    #[must_use]
    pub fn metered(self, meter: Option<TemporalMeter>) -> Self {
        let (mut connection, client) = (*self.target).clone();
        connection.metrics_meter = meter;
        let (target, client) = (Arc::new((connection, client)), Arc::default());
        Self { target, client, ..self }
    }

    /// Sets the retry policy for failed calls. Call it before the first use.
    #[must_use]
    pub fn retrying(self, retry: RetryOptions) -> Self {
        let (mut connection, client) = (*self.target).clone();
        connection.retry_options = retry;
        let (target, client) = (Arc::new((connection, client)), Arc::default());
        Self { target, client, ..self }
    }

    /// The address, for the log.
    #[must_use]
    pub fn address(&self) -> &str {
        self.target.0.target.as_str()
    }

    /// The namespace of the orders.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.target.1.namespace
    }

    /// The client, connected at the first call. If connecting fails, the next call tries again.
    pub async fn client(&self) -> Result<&Client, ClientConnectError> {
        self.client.get_or_try_init(|| self.connected()).await
    }

    /// A plain function with a boxed future: the body of an `async fn` is compiled in every crate
    /// that awaits it, and this one brings the code of all of Temporal's gRPC calls along.
    fn connected(&self) -> BoxFuture<'_, Result<Client, ClientConnectError>> {
        Box::pin(async move {
            let (mut connection, client) = (*self.target).clone();
            if !self.frontends.is_empty() {
                let reached = frontends::reached_at(&self.frontends, &connection).await?;
                connection.service_override = Some(reached);
                // The SDK does not support both at once.
                connection.dns_load_balancing = None;
            }
            Client::connect(connection, client).await
        })
    }

    /// Connects, and checks that the namespace exists.
    pub async fn connect(&self) -> Result<Client, NotReady> {
        let client = self.client().await?;
        check(client).await?;
        Ok(client.clone())
    }
}

/// Checks that Temporal answers and knows the namespace.
pub async fn check(client: &Client) -> Result<(), NotReady> {
    let request = DescribeNamespaceRequest { namespace: client.namespace(), ..Default::default() };
    client
        .connection()
        .workflow_service()
        .describe_namespace(request.into_request())
        .await
        .map_err(|status| NotReady::NoNamespace(Box::new(status)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_says_which_program_it_is_and_notices_a_silent_server() {
        let target = Url::parse("http://127.0.0.1:9").unwrap();
        let connection = ConnectionOptions::new(target).api_key("secret".to_owned()).build();
        let temporal = Temporal::at(connection, ClientOptions::new("shop").build(), "ordersaga-x");
        let (connection, _client) = &*temporal.target;
        assert!(
            connection.identity.starts_with(&format!("ordersaga-x {}@", std::process::id())),
            "{}",
            connection.identity
        );
        let keep_alive = connection.keep_alive.as_ref().unwrap();
        assert_eq!((keep_alive.interval.as_secs(), keep_alive.timeout.as_secs()), (10, 4));
        assert_eq!(connection.grpc_compression, GrpcCompression::None);
        assert_eq!(temporal.namespace(), "shop");
        assert!(!format!("{temporal:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_not_to_answer() {
        let target = Url::parse("http://127.0.0.1:9").unwrap();
        let connection = ConnectionOptions::new(target).build();
        let temporal = Temporal::at(connection, ClientOptions::new("shop").build(), "test");
        let Err(NotReady::NoAnswer(_)) = temporal.connect().await else {
            panic!("somebody listens on the discard port")
        };
    }
}
