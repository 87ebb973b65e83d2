//! Metrics of the relay process. The worker counts each sink's position and parked messages in the
//! database, so that these are available even if no relay runs.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::SinkName;
use crate::progress::{Counts, Recorded};

/// Messages handled by this process, by sink and result.
const MESSAGES: &str = "ordersaga_relay_messages_total";

/// The duration of a sink's delivery of a batch.
const DELIVERY_SECONDS: &str = "ordersaga_relay_delivery_seconds";

/// The number of a sink's shards that this process reads.
const SHARDS: &str = "ordersaga_relay_shards";

/// The number of sinks that this process reads for.
const SINKS: &str = "ordersaga_relay_sinks";

/// Violations of a sink's contract, and permanent errors of the database. Any increase is an alarm.
const BREACHES: &str = "ordersaga_relay_breaches_total";

/// Describes the metrics, and initialises those without a sink label.
pub fn describe() {
    describe_counter!(MESSAGES, "Messages that this relay dealt with, by sink and outcome");
    describe_histogram!(DELIVERY_SECONDS, "How long a sink took for a batch of messages");
    describe_gauge!(SHARDS, "How many of a sink's eight shards this relay reads");
    describe_gauge!(SINKS, "How many sinks this relay reads for");
    describe_counter!(BREACHES, "Bugs in sinks and in the relay's database statements");
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
