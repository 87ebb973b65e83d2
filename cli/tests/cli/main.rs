//! The program `ordersaga` itself, as somebody at a terminal or a supervisor runs it.

#![cfg(test)]
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod all;
mod deploys;
mod mails;
mod metrics;
mod replaying;
mod settings;
mod stopping;
