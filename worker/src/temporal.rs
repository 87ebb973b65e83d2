//! The way to Temporal, as the SDK's own settings describe it: `TEMPORAL_ADDRESS`,
//! `TEMPORAL_NAMESPACE`, `TEMPORAL_TLS_*`, `TEMPORAL_API_KEY`, or a profile in its config file.

use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::{IntoRequest as _, Status};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, NamespacedClient as _,
};
use temporalio_common::telemetry::metrics::TemporalMeter;
use temporalio_protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;

/// Where Temporal is and in which of its namespaces the orders live.
#[derive(Clone, Debug)]
pub struct Temporal {
    connection: ConnectionOptions,
    client: ClientOptions,
}

/// The SDK's settings make no sense, in its own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the settings for Temporal make no sense: {0}")]
pub struct BadSettings(String);

/// Why Temporal is of no use yet.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It does not answer.
    #[error("Temporal does not answer")]
    NoAnswer(#[from] ClientConnectError),
    /// It answers, and does not know the namespace, or not this client.
    #[error("the namespace is not to be had: {}", .0.message())]
    NoNamespace(#[source] Box<Status>),
}

impl Temporal {
    /// Reads the SDK's settings from the environment and its config file.
    pub fn from_env() -> Result<Self, BadSettings> {
        let (mut connection, client) =
            ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
                .map_err(|error| BadSettings(error.to_string()))?;
        // On one machine or network, packing and unpacking costs a fifth of the worker's time
        // and saves nothing.
        connection.grpc_compression = GrpcCompression::None;
        Ok(Self { connection, client })
    }

    /// Has the client's calls counted, too.
    #[must_use]
    pub fn metered(mut self, meter: Option<TemporalMeter>) -> Self {
        self.connection.metrics_meter = meter;
        self
    }

    /// Where it is, for the log.
    #[must_use]
    pub fn address(&self) -> &str {
        self.connection.target.as_str()
    }

    /// Connects once, and makes sure that the namespace is there.
    pub async fn connect(&self) -> Result<Client, NotReady> {
        let client = Client::connect(self.connection.clone(), self.client.clone()).await?;
        check(&client).await?;
        Ok(client)
    }
}

/// Whether Temporal answers and knows the namespace.
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
