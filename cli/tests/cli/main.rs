//! Tests of the `ordersaga` program itself, as run by a person at a terminal or by a supervisor.

#![cfg(test)]
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod all;
mod deploys;
mod listing;
mod mails;
mod metrics;
mod replaying;
mod settings;
mod stopping;
