//! The targets by their names, which are those of the folders in `corpus/`.

use std::process;
use std::sync::OnceLock;

use crate::{events, files, prices, records, words};

/// The variable that names the target to feed.
const TARGET: &str = "ORDERSAGA_FUZZ_TARGET";

/// A reader with its promises.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 25] = [
    ("amounts", words::amount),
    ("answers", activities::fuzzing::answer),
    ("authorization", starter_api::fuzzing::authorization),
    ("bank-files", activities::fuzzing::bank_file),
    ("catalogues", files::catalogue),
    ("claims", starter_api::fuzzing::claims),
    ("events", events::events),
    ("graphql", starter_api::fuzzing::graphql_query),
    ("grpc", starter_api::fuzzing::grpc_message),
    ("headers", starter_api::fuzzing::headers),
    ("histories", files::history),
    ("keys", starter_api::fuzzing::key_set),
    ("names", words::name),
    ("orders", starter_api::fuzzing::order_body),
    ("prices", prices::prices),
    ("queries", starter_api::fuzzing::query_string),
    ("quotes", starter_api::fuzzing::quote_body),
    ("records", records::record),
    ("requests", starter_api::fuzzing::other_body),
    ("retail", files::orders),
    ("settings", words::setting),
    ("signals", workflows::order::fuzzing::signal),
    ("stripe-answers", activities::fuzzing::stripe_answer),
    ("texts", starter_api::fuzzing::short_text),
    ("webhooks", starter_api::fuzzing::webhook),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Takes the target that the environment names; without a name, says which there are and ends.
#[expect(clippy::print_stdout, reason = "the launcher reads the names")]
pub(crate) fn choose() {
    let wanted = std::env::var(TARGET).unwrap_or_default();
    let Some((_name, target)) = TARGETS.into_iter().find(|(name, _target)| *name == wanted) else {
        for (name, _target) in TARGETS {
            println!("{name}");
        }
        process::exit(i32::from(!wanted.is_empty()));
    };
    CHOSEN.get_or_init(|| target);
}

/// Feeds the chosen target.
pub(crate) fn feed(bytes: &[u8]) {
    if let Some(target) = CHOSEN.get() {
        target(bytes);
    }
}
