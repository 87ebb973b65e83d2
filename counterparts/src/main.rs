//! `stripe-proxy`: the proxy in front of localstripe, as a program.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use counterparts::{Config, router, serve};
use tokio::net::TcpListener;

/// Makes localstripe behave like Stripe, for tests.
#[derive(Parser)]
#[command(version)]
struct StripeProxy {
    /// The address to listen on.
    #[arg(long)]
    listen: SocketAddr,

    /// localstripe's URL, `http://host:port`.
    #[arg(long)]
    localstripe: String,

    /// stripe-mock's URL, if it is to validate every request.
    #[arg(long)]
    stripe_mock: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let StripeProxy { listen, localstripe, stripe_mock } = StripeProxy::parse();
    let config = Config { public_url: format!("http://{listen}"), localstripe, judge: stripe_mock };
    match run(listen, config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

async fn run(listen: SocketAddr, config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let router = router(config)?;
    Ok(serve(TcpListener::bind(listen).await?, router).await?)
}

#[expect(clippy::print_stderr, reason = "it has no log")]
fn fail(why: &str) -> ExitCode {
    eprintln!("stripe-proxy: {why}");
    ExitCode::FAILURE
}
