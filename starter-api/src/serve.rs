//! Runs the starter: from settings to listeners, connections and requests, with limits on each, and
//! graceful shutdown.

mod connection;

use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::database::PoolWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt, service_fn};

use crate::app::turn::Turn;
use crate::config::ServeArgs;
use crate::http::{Limits, POOL, State, block_of};
use crate::serve::connection::{Activity, Answer, Over, Patience};
use crate::shares::Shares;
use crate::temporal::Temporal;

/// The maximum size of a request's headers, in bytes; hyper answers larger ones with 431.
const HEAD_BYTES_MAX: usize = 32_768;

/// The maximum number of concurrent requests on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// How long requests in progress may take once the process was asked to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// How long a client may take to close its connection after a graceful close.
const HANGING_UP: Duration = Duration::from_secs(2);

/// Paths of gRPC's own services, health and reflection: their streams have no time limit.
const ENDLESS: &str = "/grpc.";

/// The maximum number of connections to the listener for operators, which only monitoring uses.
const OPS_CONNECTIONS_MAX: usize = 64;

/// Counter of connections closed because of the limit per address.
pub(crate) const CONNECTIONS_REFUSED: &str = "ordersaga_connections_refused_total";

/// Serves the API until `stop`, and then until the requests in progress are answered.
pub async fn run(
    args: &ServeArgs,
    database_url: &str,
    temporal: Temporal,
    stop: CancellationToken,
) -> Result<()> {
    let database = args.database(database_url)?;
    let identity = args.identity(&database)?;
    let webhooks = args.webhooks()?;
    let state = State::new(database, temporal, identity, args.limits());
    let state = state.open_to_pages_of(&args.cors_origins);
    let mut state = state.sending_webhooks_to(args.api_webhook_internal_hosts.clone());
    if let Some(webhooks) = webhooks {
        tracing::info!(mode = webhooks.mode().name(), "Stripe's webhooks are taken");
        state = state.taking_webhooks(webhooks);
    }
    let watch = PoolWatch::of(&state.app.database, POOL);
    let (listener, address) = listen(args.listen).await?;
    let (ops_listener, ops) = listen(args.api_ops_listen).await?;
    tracing::info!(%address, "listening; the API's page is at /docs");
    tracing::info!(%ops, "health, readiness and metrics have a listener of their own");

    let tasks = [
        tokio::spawn(check_schema(state.clone())),
        tokio::spawn(tidy_up(state.clone())),
        tokio::spawn(watch.run()),
        tokio::spawn(serve_ops(ops_listener, state.clone())),
    ];
    serve(listener, state, stop.cancelled_owned()).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn listen(on: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(on).await;
    let listener = listener.with_context(|| format!("cannot listen on {on}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Logs once what is wrong with the database; `/ready` keeps reporting it.
async fn check_schema(state: State) {
    if let Err(fault) = state.schema.check(&state.app.database).await {
        tracing::error!(error = runtime::chain(&fault), "the API is not ready");
    }
}

async fn tidy_up(state: State) {
    let mut every = tokio::time::interval(runtime::metrics::UPKEEP_EVERY);
    loop {
        every.tick().await;
        state.tidy_up();
    }
}

/// Serves until `asked_to_stop`. Then it reports not ready, keeps serving for the time that a load
/// balancer needs to notice, finishes requests in progress, and returns.
pub async fn serve(listener: TcpListener, state: State, asked_to_stop: impl Future<Output = ()>) {
    let door = Door::of(&state.limits, crate::router(state.clone()));
    let (served, launcher) = (CancellationToken::new(), Arc::clone(&state.app.launcher));
    let launching = tokio::spawn(launcher.run(state.leaving.clone(), served.clone()));
    tokio::select! {
        () = door.open(&listener) => {}
        () = leave(&state, asked_to_stop) => {}
    }
    drop(listener);
    if timeout(FAREWELL, door.close()).await.is_err() {
        tracing::warn!("some requests were still under way when the process ended");
    }
    served.cancel();
    if timeout(FAREWELL, launching).await.is_err() {
        tracing::warn!("some orders were still being launched; another starter takes them");
    }
}

/// Serves operators, load balancers and Prometheus for as long as it is polled, independent of the
/// load on the API's listener.
pub async fn serve_ops(listener: TcpListener, state: State) {
    let limits = Limits {
        connections_max: OPS_CONNECTIONS_MAX,
        connections_per_address: OPS_CONNECTIONS_MAX,
        ..state.limits
    };
    Door::of(&limits, crate::http::ops_router(state)).open(&listener).await;
}

/// Accepts connections within limits: in total, per address, and in time.
struct Door {
    http: Builder<TokioExecutor>,
    router: Router,
    patience: Patience,
    connections_max: usize,
    places: Arc<Semaphore>,
    /// `None` behind proxies, where all connections come from the same few addresses.
    per_address: Option<Arc<Shares<IpAddr>>>,
    inside: TaskTracker,
    closing: CancellationToken,
}

impl Door {
    fn of(limits: &Limits, router: Router) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        // Header timeouts are enforced in `connection`, for both versions of HTTP.
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES_MAX);
        // Keep-alive pings detect a client that has disappeared while it has a stream open.
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(16_384)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .keep_alive_interval(Some(limits.headers_timeout))
            .keep_alive_timeout(limits.headers_timeout);
        let shares = || Shares::of(limits.connections_per_address);
        Self {
            http,
            router,
            patience: Patience {
                first: limits.headers_timeout,
                idle: limits.idle_timeout,
                unread: limits.send_timeout,
                endless: true,
            },
            connections_max: limits.connections_max,
            places: Arc::new(Semaphore::new(limits.connections_max)),
            per_address: (limits.trusted_proxies == 0).then(shares),
            inside: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Accepts connections for as long as it is polled.
    async fn open(&self, listener: &TcpListener) {
        loop {
            // The semaphore is never closed, so this waits for a permit and cannot fail.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let (caller, address) = next_caller(listener).await;
            let share = self.per_address.as_ref().map(|shares| shares.take(block_of(address.ip())));
            if matches!(share, Some(None)) {
                metrics::counter!(CONNECTIONS_REFUSED).increment(1);
                tracing::debug!(%address, "an address has as many connections as it may have");
                continue;
            }
            let served = self.serve(caller, address, place);
            self.inside.spawn(async move {
                served.await;
                drop(share);
            });
        }
    }

    /// Serves one connection to its end.
    fn serve(
        &self,
        caller: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (router, activity) = (self.router.clone(), Activity::new());
        let observed = Arc::clone(&activity);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            let is_endless = request.uri().path().starts_with(ENDLESS);
            let (under_way, answered) =
                (activity.begin(is_endless), router.clone().oneshot(request));
            async move {
                let mut answered = answered.await?;
                let held = answered.extensions_mut().remove::<Turn>();
                Ok::<_, Infallible>(answered.map(|body| Answer::new(body, under_way, held)))
            }
        });
        let connection = self
            .http
            .serve_connection(TokioIo::new(caller), TowerToHyperService::new(service))
            .into_owned();
        let (patience, closing, places) =
            (self.patience, self.closing.clone(), Arc::clone(&self.places));
        let few = self.connections_max.div_ceil(4);
        async move {
            let _place = place;
            let mut connection = pin!(connection);
            let is_crowded = || places.available_permits() < few;
            let over = tokio::select! {
                ended = connection.as_mut() => return note(ended),
                over = out_of_patience(&observed, &patience, is_crowded) => over,
                () = closing.cancelled() => Over::Idle,
            };
            if over == Over::Abusive {
                return;
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => note(ended),
                () = hung_up(&observed, &patience) => {}
            }
        }
    }

    /// Closes all connections gracefully, and waits until their requests are answered.
    async fn close(&self) {
        self.closing.cancel();
        self.inside.close();
        self.inside.wait().await;
    }
}

/// Waits until the connection has to be closed.
async fn out_of_patience(
    activity: &Activity,
    patience: &Patience,
    is_crowded: impl Fn() -> bool,
) -> Over {
    loop {
        match activity.look(patience, is_crowded(), Instant::now()) {
            Ok(next) => sleep_until(next).await,
            Err(over) => return over,
        }
    }
}

/// Waits until a client had time to close a gracefully closed connection; pending responses are
/// sent first.
async fn hung_up(activity: &Activity, patience: &Patience) {
    let idle = patience.idle.min(HANGING_UP);
    sleep(idle).await;
    let hurry = Patience { first: idle, idle, unread: patience.unread, endless: false };
    out_of_patience(activity, &hurry, || false).await;
}

/// A broken connection is usually the client's doing, so it is logged for debugging only.
fn note(ended: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}

async fn leave(state: &State, asked_to_stop: impl Future<Output = ()>) {
    asked_to_stop.await;
    // From here on `/ready` fails, and the event streams end.
    state.leaving.cancel();
    sleep(state.limits.notice).await;
}

async fn next_caller(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((caller, address)) => {
                // Disables Nagle's algorithm: a small response must not wait to be merged into a
                // larger packet.
                if let Err(error) = caller.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return (caller, address);
            }
            Err(error) => {
                // Most likely out of file descriptors: retrying at once would only spin.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use futures::{FutureExt as _, join};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_door_is_closed_once_what_is_under_way_is_answered() {
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (has_come, may_go) = (Arc::clone(&asked), Arc::clone(&answer));
        let slow = || async move {
            has_come.notify_one();
            may_go.notified().await;
            "done"
        };
        let door = Door::of(&Limits::default(), Router::new().route("/", get(slow)));
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
        tokio::select! {
            () = door.open(&listener) => unreachable!("it lets callers in for ever"),
            () = asked.notified() => {}
        }
        let mut closed = pin!(door.close());
        assert!(closed.as_mut().now_or_never().is_none(), "somebody waits for an answer");
        answer.notify_one();
        let mut said = String::new();
        let (read, ()) = join!(caller.read_to_string(&mut said), closed);
        read.unwrap();
        assert!(said.ends_with("done"), "{said}");
    }
}
