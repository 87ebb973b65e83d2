//! From connections to requests: with a limit on each, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::state::State;

/// How many callers are listened to at once; the next one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// How long a caller may take to say what it wants. Whoever drips its headers byte by byte, or
/// keeps an idle connection, is let go.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests under way may take once the process was asked to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// Serves until `asked_to_stop`; then tells whoever asks that it is not ready, still serves for
/// the time that a load balancer needs to notice, answers what is under way, and returns.
pub async fn serve(listener: TcpListener, state: State, asked_to_stop: impl Future<Output = ()>) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let service = TowerToHyperService::new(crate::router(state.clone()));

    let accepting = async {
        loop {
            // The semaphore is never closed, so this waits for a place and cannot fail.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let caller = next_caller(&listener).await;
            let connection = http
                .serve_connection_with_upgrades(TokioIo::new(caller), service.clone())
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
}

async fn leave(state: &State, asked_to_stop: impl Future<Output = ()>) {
    asked_to_stop.await;
    // From here on `/ready` is red, and the event streams end.
    state.leaving.cancel();
    sleep(state.limits.notice).await;
}

async fn next_caller(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((caller, _address)) => {
                // A small answer must not wait for a larger one to share its packet.
                if let Err(error) = caller.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return caller;
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
