//! The starter as a program: from its settings to connections, and from connections to requests,
//! with a limit on each, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::ServeArgs;
use crate::http::State;
use crate::temporal::Temporal;

/// How many callers are listened to at once; the next one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// The largest head of a request, in bytes; hyper answers a larger one with 431.
const HEAD_BYTES_MAX: usize = 32_768;

/// How many requests one connection of HTTP/2 may carry at once.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// How long requests under way may take once the process was asked to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// Serves the API until `stop`, and then until the requests under way are answered.
pub async fn run(
    args: &ServeArgs,
    database_url: &str,
    temporal: Temporal,
    stop: CancellationToken,
) -> Result<()> {
    let database = args.database(database_url)?;
    let identity = args.identity(&database)?;
    let state = State::new(database, temporal, identity, args.limits());
    let state = state.open_to_pages_of(&args.cors_origins);
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening; the API's page is at /docs");

    let checking = tokio::spawn(check_schema(state.clone()));
    let tidying = tokio::spawn(tidy_up(state.clone()));
    serve(listener, state, stop.cancelled_owned()).await;
    checking.abort();
    tidying.abort();
    Ok(())
}

/// Says once in the log what is wrong with the database; `/ready` goes on saying it.
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

/// Serves until `asked_to_stop`; then tells whoever asks that it is not ready, still serves for
/// the time that a load balancer needs to notice, answers what is under way, and returns.
pub async fn serve(listener: TcpListener, state: State, asked_to_stop: impl Future<Output = ()>) {
    let mut http = Builder::new(TokioExecutor::new());
    let patience = state.limits.headers_timeout;
    // Whoever drips its headers byte by byte, or keeps an idle connection, is let go.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(16_384)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(Some(patience))
        .keep_alive_timeout(patience);
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let router = crate::router(state.clone());
    let (served, launcher) = (CancellationToken::new(), Arc::clone(&state.app.launcher));
    let launching = tokio::spawn(launcher.run(state.leaving.clone(), served.clone()));

    let accepting = async {
        loop {
            // The semaphore is never closed, so this waits for a place and cannot fail.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (caller, address) = next_caller(&listener).await;
            let service = router.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(address));
                request
            });
            let connection = http
                .serve_connection_with_upgrades(
                    TokioIo::new(caller),
                    TowerToHyperService::new(service),
                )
                .into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error, "a connection broke");
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = leave(&state, asked_to_stop) => {}
    }
    drop(listener);
    if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still under way when the process ended");
    }
    served.cancel();
    if timeout(FAREWELL, launching).await.is_err() {
        tracing::warn!("some orders were still being launched; another starter takes them");
    }
}

async fn leave(state: &State, asked_to_stop: impl Future<Output = ()>) {
    asked_to_stop.await;
    // From here on `/ready` is red, and the event streams end.
    state.leaving.cancel();
    sleep(state.limits.notice).await;
}

async fn next_caller(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((caller, address)) => {
                // A small answer must not wait for a larger one to share its packet.
                if let Err(error) = caller.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return (caller, address);
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
