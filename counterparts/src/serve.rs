//! Connections that can end without an answer, which an ordinary server does not support.

use std::io;
use std::net;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// Marks an answer that is not sent: the connection is cut instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Closed in order: the caller reads end of file.
    Closed,
    /// Reset: the caller reads an error.
    Reset,
}

impl Cut {
    pub(crate) fn response(self) -> Response {
        let mut response = ().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Serves the proxy until its process ends.
///
/// **Errors.** Connections cannot be accepted.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    loop {
        let (caller, _) = listener.accept().await?;
        tokio::spawn(connection(caller, router.clone()));
    }
}

/// Errors are ignored: the caller has noticed them.
async fn connection(caller: TcpStream, router: Router) -> io::Result<()> {
    caller.set_nodelay(true)?;
    let caller = caller.into_std()?;
    let handle = caller.try_clone()?;
    let answer = |request: Request<Incoming>| answer_or_cut(request, router.clone(), &handle);
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(TcpStream::from_std(caller)?), service_fn(answer));
    served.await.map_err(io::Error::other)
}

/// An error cuts the connection.
async fn answer_or_cut(
    request: Request<Incoming>,
    router: Router,
    caller: &net::TcpStream,
) -> io::Result<Response> {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    match response.extensions().get::<Cut>().copied() {
        None => return Ok(response),
        Some(Cut::Closed) => {}
        // With linger zero, closing discards pending data and sends a reset.
        Some(Cut::Reset) => SockRef::from(caller).set_linger(Some(Duration::ZERO))?,
    }
    Err(io::Error::other("the connection is cut, as planned"))
}
