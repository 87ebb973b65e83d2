#!/usr/bin/env python3
"""Reads a topic with kafka-python, a client that shares no code with the relay.

  read_kafka.py BROKERS TOPIC COUNT

Prints COUNT records, or with `all` those that exist, as JSON lines, each partition's in order. Exits
with 1 if there are fewer. Needs kafka-python on PYTHONPATH.
"""

from __future__ import annotations

import json
import sys

from kafka import KafkaConsumer, TopicPartition

# After so long without a record, none is expected.
GIVEN_UP_AFTER_MS = 30_000


def main(brokers: str, topic: str, wanted: str) -> int:
    consumer = KafkaConsumer(
        bootstrap_servers=brokers.split(","),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=GIVEN_UP_AFTER_MS,
    )
    # Without a consumer group, so that partitions need not be assigned.
    partitions = [TopicPartition(topic, one) for one in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    if wanted == "all":
        firsts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        count = sum(ends[one] - firsts[one] for one in partitions)
    else:
        count = int(wanted)
    left = count
    for record in consumer if left else ():
        line = {
            "partition": record.partition,
            "key": record.key.decode(),
            "headers": {name: value.decode() for name, value in record.headers},
            "value": json.loads(record.value),
        }
        print(json.dumps(line))
        left -= 1
        if left == 0:
            break
    consumer.close()
    if left:
        print(f"{left} of {count} records do not come", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))
