"""scale.md has the tables that scale.py computes, and none of its inputs is left out.

Run with: python3 -m unittest discover docs
"""

from __future__ import annotations

import dataclasses
import unittest
from decimal import Decimal
from unittest import mock

import scale

LINES_MAX = 200


class ScaleTest(unittest.TestCase):
    def setUp(self) -> None:
        self.page = scale.PAGE.read_text(encoding="utf-8")

    def test_the_tables_are_what_the_script_computes(self) -> None:
        self.assertEqual(scale.placed(self.page), self.page, "run docs/scale.py --write")

    def test_a_table_that_has_no_place_in_the_page_is_missed(self) -> None:
        with self.assertRaisesRegex(ValueError, "0 places for the table money"):
            scale.placed(self.page.replace("<!-- money -->", ""))

    def test_the_page_is_short(self) -> None:
        self.assertLessEqual(len(self.page.splitlines()), LINES_MAX)

    def test_each_input_is_shown_and_moves_the_tables(self) -> None:
        inputs = {name: one for name, one in vars(scale).items() if isinstance(one, scale.Input)}
        self.assertCountEqual(inputs.values(), [*scale.MEASURED, *scale.ASSUMED])
        computed = [of for name, of in scale.TABLES.items() if name not in ("measured", "assumed")]
        before = [of() for of in computed]
        for name, one in inputs.items():
            changed = False
            for factor in (Decimal(50), 1 / Decimal(50)):
                other = dataclasses.replace(one, value=one.value * factor)
                with mock.patch.object(scale, name, other):
                    changed = changed or [of() for of in computed] != before
            self.assertTrue(changed, f"no table depends on {name}")

    def test_more_orders_never_take_less(self) -> None:
        for of in (scale.temporal_clusters, scale.shop_databases, scale.relays, scale.buckets):
            counts = [of(rate) for rate in scale.RATES]
            self.assertEqual(counts, sorted(counts))

    def test_nothing_has_more_to_do_than_it_can(self) -> None:
        for rate in scale.RATES:
            clusters, databases = scale.temporal_clusters(rate), scale.shop_databases(rate)
            each = rate * scale.TRANSITIONS.value / Decimal(scale.history_shards(rate) * clusters)
            self.assertLessEqual(each, scale.SHARD_RATE.value)
            self.assertEqual(scale.history_shards(rate).bit_count(), 1)
            for ms, of_them in ((scale.TEMPORAL_STORE, clusters), (scale.SHOP_STORE, databases)):
                self.assertLessEqual(scale.cores(rate, ms.value) / of_them, scale.STORE_CORES.value)
            self.assertLessEqual(scale.wal(rate) / databases, scale.STORE_WAL.value)
            of_a_sink = scale.relays(rate) / (databases * scale.SINKS.value)
            self.assertLessEqual(of_a_sink, scale.RELAY_SHARDS.value)


if __name__ == "__main__":
    unittest.main()
