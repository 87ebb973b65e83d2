//! Client-side load balancing over a cluster's frontends, with health checks.
//!
//! The SDK balances over the addresses of a DNS name, but it never leaves a frontend that hangs:
//! its keep-alive ends the connection after 14 s, the kernel of the hung machine accepts the next
//! one, and calls are sent there as before. So each frontend's health is polled. A frontend that
//! fails its health check gets no more calls while another one is healthy, and the calls waiting
//! for it are aborted, so that the SDK retries them.

use std::error::Error;
use std::iter::successors;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use temporalio_client::callback_based::{
    CallbackBasedGrpcService, GrpcRequest, GrpcSuccessResponse,
};
use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::client::Grpc;
use temporalio_client::tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use temporalio_client::tonic::codegen::http::Uri;
use temporalio_client::tonic::codegen::http::uri::PathAndQuery;
use temporalio_client::tonic::metadata::MetadataMap;
use temporalio_client::tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity,
};
use temporalio_client::tonic::{Code, Request, Status, TimeoutExpired};
use temporalio_client::{ConnectionOptions, TlsOptions, Url};
use temporalio_common::protos::grpc::health::v1::HealthCheckRequest;
use temporalio_common::protos::grpc::health::v1::health_check_response::ServingStatus;
use temporalio_common::protos::grpc::health::v1::health_client::HealthClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::BadSettings;

/// The interval between health checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The timeout of a health check: longer than a busy frontend takes, and otherwise as short as
/// possible, because orders stand still for that long.
const SERVES_WITHIN: Duration = Duration::from_secs(3);

/// The service whose health is checked.
const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

/// The SDK's own limit for the size of one response.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The connections to all frontends of a cluster.
struct Frontends {
    channels: Vec<Channel>,
    /// Whether each frontend is healthy, in the order of the channels.
    serving: watch::Sender<Vec<bool>>,
    turn: AtomicUsize,
    /// The health checks, which end with the connections.
    _looks: JoinSet<()>,
}

/// Parses a list of addresses such as `10.0.0.1:7233,10.0.0.2:7233`; an empty list yields none.
pub(super) fn addresses(list: &str, is_encrypted: bool) -> Result<Vec<Url>, BadSettings> {
    let scheme = if is_encrypted { "https" } else { "http" };
    let address = |text: &str| -> Option<Url> {
        let (_, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        let url = Url::parse(&format!("{scheme}://{text}")).ok()?;
        (url.has_host() && url.path() == "/").then_some(url)
    };
    let or_bad = |text: &str| {
        let why = || BadSettings(format!("`{text}` in {} is not host:port", super::FRONTENDS));
        address(text).ok_or_else(why)
    };
    list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(or_bad).collect()
}

/// Connects to these frontends with the settings of `options`, and sends calls to the healthy ones,
/// round robin. If none is healthy, all are tried in turn.
///
/// **Errors.** The settings are invalid. An unreachable frontend is not an error here; the first
/// call fails instead.
pub(super) async fn reached_at(
    addresses: &[Url],
    options: &ConnectionOptions,
) -> Result<CallbackBasedGrpcService, ClientConnectError> {
    let endpoints = addresses.iter().map(|address| endpoint(address, options));
    let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
    let channels: Vec<_> = endpoints.iter().map(Endpoint::connect_lazy).collect();
    let frontends = Arc::new(Frontends::looked_after(addresses, channels));
    // Without this wait, the first call might go to a frontend that hangs.
    let mut serving = frontends.serving.subscribe();
    let one_serves = serving.wait_for(|serving| serving.contains(&true));
    if timeout(SERVES_WITHIN, one_serves).await.is_err() {
        warn!("none of Temporal's frontends answers yet");
    }
    let callback = move |request: GrpcRequest| -> BoxFuture<'static, _> {
        let frontends = Arc::clone(&frontends);
        Box::pin(async move { frontends.ask_one(request).await })
    };
    Ok(CallbackBasedGrpcService { callback: Arc::new(callback) })
}

impl Frontends {
    fn looked_after(addresses: &[Url], channels: Vec<Channel>) -> Self {
        let serving = watch::Sender::new(vec![false; channels.len()]);
        let mut looks = JoinSet::new();
        for (place, (address, channel)) in addresses.iter().zip(&channels).enumerate() {
            let address = address.authority().to_owned();
            looks.spawn(look_after(place, address, channel.clone(), serving.clone()));
        }
        Self { channels, serving, turn: AtomicUsize::new(0), _looks: looks }
    }

    async fn ask_one(&self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        let place = self.whose_turn();
        tokio::select! {
            answer = ask(self.channels[place].clone(), request) => answer,
            () = self.until_left(place) => {
                Err(Status::unavailable("this frontend does not answer, and another one does"))
            }
        }
    }

    /// The index of the next healthy frontend, or of the next one if none is healthy.
    fn whose_turn(&self) -> usize {
        let (count, turn) = (self.channels.len(), self.turn.fetch_add(1, Ordering::Relaxed));
        let turn = turn.checked_rem(count).unwrap_or_default();
        let serving = self.serving.borrow();
        (turn..count).chain(0..turn).find(|place| serving[*place]).unwrap_or(turn)
    }

    /// Waits until this frontend is unhealthy and another one is healthy.
    async fn until_left(&self, place: usize) {
        let mut serving = self.serving.subscribe();
        let is_left = |serving: &Vec<bool>| !serving[place] && serving.contains(&true);
        // `self` owns the sender, so the channel cannot be closed while this waits.
        serving.wait_for(is_left).await.map(drop).unwrap_or_default();
    }
}

/// Polls a frontend's health for ever.
async fn look_after(
    place: usize,
    address: String,
    channel: Channel,
    serving: watch::Sender<Vec<bool>>,
) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_left = false;
    loop {
        looks.tick().await;
        let serves = timeout(SERVES_WITHIN, serves(channel.clone())).await.unwrap_or_default();
        let is_news =
            serving.send_if_modified(|all| mem::replace(&mut all[place], serves) != serves);
        if is_news && !serves {
            warn!(
                frontend = address,
                "a frontend of Temporal does not answer, and gets no more calls"
            );
            is_left = true;
        } else if is_news && mem::take(&mut is_left) {
            info!(frontend = address, "a frontend of Temporal answers again");
        }
    }
}

async fn serves(channel: Channel) -> bool {
    let request = HealthCheckRequest { service: WORKFLOW_SERVICE.to_owned() };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => answer.get_ref().status() == ServingStatus::Serving,
        // A frontend that does not implement the health check, or denies it, is still alive. A
        // status with a source was created on this side because there was no answer; `Unavailable`
        // comes from a proxy.
        Err(status) => status.source().is_none() && status.code() != Code::Unavailable,
    }
}

async fn ask(channel: Channel, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
    let GrpcRequest { service, rpc, headers, proto } = request;
    let path = PathAndQuery::try_from(format!("/{service}/{rpc}"));
    let path = path.map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(proto);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = grpc.unary(request, path, AsItIs).await.map_err(or_unavailable)?;
    let headers = MetadataMap::new().into_headers();
    Ok(GrpcSuccessResponse { headers, proto: answer.into_inner() })
}

/// The library reports a call whose connection ended as `Cancelled`, which is not retried; it
/// becomes `Unavailable`. A timeout is left as it is.
fn or_unavailable(status: Status) -> Status {
    let mut causes = successors(status.source(), |cause| Error::source(*cause));
    let was_late = causes.any(<dyn Error>::is::<TimeoutExpired>);
    if status.code() == Code::Cancelled && status.source().is_some() && !was_late {
        return Status::unavailable(status.message());
    }
    status
}

/// Builds the same connection as the SDK does.
fn endpoint(address: &Url, options: &ConnectionOptions) -> Result<Endpoint, ClientConnectError> {
    let mut endpoint = Endpoint::from_shared(address.to_string())?;
    if let Some(connect_timeout) = options.connect_timeout {
        endpoint = endpoint.connect_timeout(connect_timeout);
    }
    if let Some(keep_alive) = &options.keep_alive {
        endpoint = endpoint
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout);
    }
    if let Some(tls) = &options.tls_options {
        if let Some(domain) = &tls.domain {
            endpoint = endpoint.origin(format!("https://{domain}").parse::<Uri>()?);
        }
        endpoint = endpoint.tls_config(tls_config(tls))?;
    }
    if let Some(origin) = &options.override_origin {
        endpoint = endpoint.origin(origin.clone());
    }
    Ok(endpoint)
}

fn tls_config(options: &TlsOptions) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new();
    tls = match &options.server_root_ca_cert {
        Some(certificate) => tls.ca_certificate(Certificate::from_pem(certificate)),
        None => tls.with_native_roots(),
    };
    if let Some(domain) = &options.domain {
        tls = tls.domain_name(domain);
    }
    if let Some(client) = &options.client_tls_options {
        tls = tls.identity(Identity::from_pem(&client.client_cert, &client.client_private_key));
    }
    tls
}

/// A codec that passes messages on as bytes: decoding them is the SDK's job.
#[derive(Clone, Copy)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;

    use super::*;

    /// Frontends without health checks: the test sets which of them are healthy.
    fn frontends(serving: &[bool]) -> Frontends {
        let nobody = Endpoint::from_static("http://127.0.0.1:9");
        Frontends {
            channels: serving.iter().map(|_| nobody.connect_lazy()).collect(),
            serving: watch::Sender::new(serving.to_vec()),
            turn: AtomicUsize::new(0),
            _looks: JoinSet::new(),
        }
    }

    fn turns(frontends: &Frontends) -> [usize; 4] {
        [(); 4].map(|()| frontends.whose_turn())
    }

    #[test]
    fn a_list_names_a_host_and_a_port_for_each() {
        let read = |list, is_encrypted| {
            let urls = addresses(list, is_encrypted)?;
            Ok::<_, BadSettings>(urls.iter().map(Url::to_string).collect::<Vec<_>>())
        };
        let two = ["http://10.0.0.1:7233/", "http://temporal-2:7234/"];
        assert_eq!(read("10.0.0.1:7233, temporal-2:7234", false).unwrap(), two);
        assert_eq!(read("[::1]:7233,", true).unwrap(), ["https://[::1]:7233/"]);
        assert!(read("", false).unwrap().is_empty());
        for nonsense in ["temporal", "host:port", "http://10.0.0.1:7233", ":7233", "[::1]"] {
            let error = read(nonsense, false).unwrap_err().to_string();
            assert!(error.contains(nonsense), "{error}");
        }
    }

    #[tokio::test]
    async fn calls_go_in_turn_to_those_that_serve() {
        assert_eq!(turns(&frontends(&[true, true])), [0, 1, 0, 1]);
        assert_eq!(turns(&frontends(&[false, true, true])), [1, 1, 2, 1]);
        assert_eq!(turns(&frontends(&[false, false])), [0, 1, 0, 1]);
    }

    #[tokio::test]
    async fn a_call_is_given_up_once_its_frontend_does_not_serve_and_another_does() {
        let frontends = frontends(&[true, true]);
        let mut left = Box::pin(frontends.until_left(0));
        assert_eq!(poll!(&mut left), Poll::Pending);
        frontends.serving.send_replace(vec![false, false]);
        assert_eq!(poll!(&mut left), Poll::Pending);
        frontends.serving.send_replace(vec![true, false]);
        assert_eq!(poll!(&mut left), Poll::Pending);
        frontends.serving.send_replace(vec![false, true]);
        assert_eq!(poll!(&mut left), Poll::Ready(()));
    }

    /// The error that the library reports for a call that was in flight when its connection ended.
    #[derive(Debug, thiserror::Error)]
    #[error("the connection ended")]
    struct Ended(#[source] Status);

    #[test]
    fn a_call_whose_connection_ended_is_repeated_and_one_that_took_too_long_is_not() {
        let told = |error: Box<dyn Error + Send + Sync>| or_unavailable(Status::from_error(error));
        assert_eq!(told(Box::new(Ended(Status::cancelled("")))).code(), Code::Unavailable);
        assert_eq!(told(Box::new(TimeoutExpired(()))).code(), Code::Cancelled);
        assert_eq!(or_unavailable(Status::cancelled("by the server")).code(), Code::Cancelled);
        assert_eq!(or_unavailable(Status::not_found("an order")).code(), Code::NotFound);
    }
}
