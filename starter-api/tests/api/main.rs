//! The starter as its callers see it: the real router on a port of its own, a database for each
//! test, and the real Temporal. No worker runs except in `lives`, so an accepted order stays
//! `processing`. `TEMPORAL_NAMESPACE` names a namespace with the search attributes of
//! `temporal/setup.sh` and without workers.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::format_push_string, reason = "a test's text is short, and reads better so")]

mod access;
mod attacks;
mod attention;
mod cancelling;
mod delivering;
mod disputes;
mod endpoints;
mod examples;
mod graphql;
mod grpc;
mod http;
mod invoicing;
mod issuer;
mod json;
mod launching;
mod ledger;
mod life;
mod limits;
mod lives;
mod mailing;
mod operating;
mod orders;
mod outages;
mod paying;
mod placing;
mod pricing;
mod reconciling;
mod refunding;
mod relaying;
mod reviewing;
mod shop;
mod signing_in;
mod tokens;
mod watching;
mod webhooks;
