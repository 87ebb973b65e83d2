//! What the relay counts of its own doing. How far each sink is, and what is parked, the worker counts
//! in the database, so that it is also told where no relay runs.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::SinkName;
use crate::progress::{Counts, Recorded};

/// Messages that this process has dealt with, by sink and by what came of them.
const MESSAGES: &str = "ordersaga_relay_messages_total";

/// How long a sink took for a batch.
const DELIVERY_SECONDS: &str = "ordersaga_relay_delivery_seconds";

/// How many shards of a sink this process reads.
const SHARDS: &str = "ordersaga_relay_shards";

/// How many sinks this process reads for.
const SINKS: &str = "ordersaga_relay_sinks";

/// What sinks have done against their contract, and what the database has refused for good. Any
/// increase is an alarm.
const BREACHES: &str = "ordersaga_relay_breaches_total";

/// Says what each series is, and begins those that have no sink in their name.
pub fn describe() {
    describe_counter!(MESSAGES, "Messages that this relay dealt with, by sink and outcome");
    describe_histogram!(DELIVERY_SECONDS, "How long a sink took for a batch of messages");
    describe_gauge!(SHARDS, "How many of a sink's eight shards this relay reads");
    describe_gauge!(SINKS, "How many sinks this relay reads for");
    describe_counter!(BREACHES, "Bugs of sinks, and of what the relay asks the database");
    counter!(BREACHES).absolute(0);
    gauge!(SINKS).set(0.0);
}

pub(crate) fn count(sink: &SinkName, recorded: &Recorded) {
    let sum = |of: fn(&Counts) -> u64| recorded.values().map(of).fold(0, u64::saturating_add);
    for (outcome, messages) in [
        ("delivered", sum(|counts| counts.delivered)),
        ("not-wanted", sum(|counts| counts.not_wanted)),
        ("parked", sum(|counts| counts.parked)),
    ] {
        counter!(MESSAGES, "sink" => sink.to_string(), "outcome" => outcome).increment(messages);
    }
}

pub(crate) fn delivery_took(sink: &SinkName, time: Duration) {
    histogram!(DELIVERY_SECONDS, "sink" => sink.to_string()).record(time);
}

pub(crate) fn shards(sink: &SinkName, shards: usize) {
    gauge!(SHARDS, "sink" => sink.to_string()).set(runtime::metrics::count(shards));
}

pub(crate) fn sinks(sinks: usize) {
    gauge!(SINKS).set(runtime::metrics::count(sinks));
}

pub(crate) fn breach() {
    counter!(BREACHES).increment(1);
}
