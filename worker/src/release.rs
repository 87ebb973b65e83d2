//! A worker's release (Temporal worker versioning). Temporal gives an order's tasks only to workers
//! of the release that the order began on, so a new release may change the process while the old
//! one completes its own orders.
//!
//! The behaviour is *pinned*, not *auto-upgrade*: an order that was upgraded to a newer release
//! could not return to the older one after a rollback, because the older one does not know the
//! newer one's patches.

use runtime::chain;
use temporalio_client::tonic::{Code, IntoRequest as _, Status};
use temporalio_client::{Client, NamespacedClient as _};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeWorkerDeploymentRequest;
use temporalio_common::worker::{
    VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion,
};
use tracing::{info, warn};

/// The release that a worker reports to Temporal.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Release {
    /// The deployment that this release belongs to; an order then ends on the release that it began
    /// on
    #[arg(long, env = "WORKER_DEPLOYMENT", required = false, requires = "build_id")]
    pub deployment: String,
    /// The name of this release, such as its version and commit
    #[arg(long, env = "WORKER_BUILD_ID", required = false, requires = "deployment")]
    pub build_id: String,
}

impl Release {
    pub(crate) fn deployment_options(&self) -> WorkerDeploymentOptions {
        let version = WorkerDeploymentVersion::builder()
            .deployment_name(self.deployment.clone())
            .build_id(self.build_id.clone())
            .build();
        WorkerDeploymentOptions::new(version)
            .use_worker_versioning(true)
            .default_versioning_behavior(VersioningBehavior::Pinned)
            .build()
    }

    /// Logs whether new orders go to this release, and if not, how to change that.
    pub(crate) async fn tell_whether_it_takes_orders(self, client: Client) {
        let Self { deployment, build_id } = &self;
        match current(&client, deployment).await {
            Ok(Some(current)) if current == *build_id => info!(build_id, "takes new orders"),
            Ok(current) => warn!(
                build_id,
                current = current.as_deref().unwrap_or("none"),
                "takes no new orders until an operator runs `temporal worker deployment \
                 set-current-version --deployment-name {deployment} --build-id {build_id}`"
            ),
            Err(error) => {
                warn!(error = chain(&error), "cannot ask whether this release takes new orders");
            }
        }
    }
}

/// The build id of the release that new orders go to, if it belongs to this deployment.
async fn current(client: &Client, deployment: &str) -> Result<Option<String>, Status> {
    let request = DescribeWorkerDeploymentRequest {
        namespace: client.namespace(),
        deployment_name: deployment.to_owned(),
    };
    let mut service = client.connection().workflow_service();
    match service.describe_worker_deployment(request.into_request()).await {
        Ok(answer) => Ok(answer
            .into_inner()
            .worker_deployment_info
            .and_then(|info| info.routing_config)
            .and_then(|routing| routing.current_deployment_version)
            .map(|version| version.build_id)),
        // A deployment is created by its first worker.
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
