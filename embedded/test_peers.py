"""Tests of the comparison with peers, without running any of them.

Run with: python3 -m unittest discover embedded. Tests that need Postgres are in peers/test_counts.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest import mock

import peer_figures
import peers
from console import Problem
from peer_figures import Fate, Figures, of_bench, targets

OURS = Figures("Ordersaga", "ordersaga", finished=90.0, accepts=2600.0)
DBOS = Figures("DBOS Go, steps", "dbos", finished=200.0, accepts=2000.0)
TEMPORAL = Figures("Temporal Go", "temporal", finished=25.0, accepts=400.0)

BENCH = """
── one at a time: medians of the rounds ──
                              empty      order   textbook
finished per second            99.0       31.0        9.0

── 100 at once: medians of the rounds ──
                              empty      order   textbook
accepted per second           102.1       44.9       19.3
finished per second           102.1       44.7       19.1
latency to finished, p50     921 ms     2.17 s     5.04 s
latency to finished, p99     1.20 s     2.63 s     7.96 s

── processor time per finished workflow, in ms ──
                              empty      order   textbook
Temporal server                13.6       21.7       70.1
worker                          1.3        6.6       11.0
starter                         0.0        1.3        0.0
Postgres                          –        9.2        9.0
  for the sandboxes               –        0.4        0.4
load generator                  0.7        0.9        0.8
total                          15.6       38.8       91.0

── bursts: 500 of each, started without waiting ──
                              empty      order   textbook
accepted per second           611.0      206.2      603.0
finished per second           100.0       44.0       19.0
"""


class TargetsTest(unittest.TestCase):
    def found(self, *others: Figures, ours: Figures = OURS) -> dict[str, bool]:
        return {target.what: target.reached for target in targets(ours, others)}

    def test_the_faster_way_of_dbos_is_the_one_to_be_measured_by(self) -> None:
        faster = replace(DBOS, name="DBOS Go, transactions", finished=226.0)
        found = self.found(DBOS, faster)
        self.assertNotIn("finished : DBOS Go, steps", found)
        self.assertFalse(found["finished : DBOS Go, transactions"], "90 of 226 is less than 0.4")
        self.assertTrue(self.found(DBOS)["finished : DBOS Go, steps"], "90 of 200 is more")

    def test_every_saga_on_temporal_is_to_be_outdone(self) -> None:
        slower = replace(TEMPORAL, name="Temporal Python", finished=26.0)
        found = self.found(TEMPORAL, slower)
        self.assertTrue(found["finished : Temporal Go"], "90 is 3.6 times 25")
        self.assertFalse(found["finished : Temporal Python"], "90 is 3.46 times 26")

    def test_accepting_as_many_as_another_is_not_ahead_of_all(self) -> None:
        what = "accepts a second, ahead of all (DBOS Go, steps)"
        self.assertTrue(self.found(DBOS, TEMPORAL)[what])
        self.assertFalse(self.found(replace(DBOS, accepts=2600.0), TEMPORAL)[what])

    def test_what_was_not_measured_reaches_no_target(self) -> None:
        nothing = Figures("Ordersaga", "ordersaga")
        self.assertEqual(self.found(DBOS, TEMPORAL, ours=nothing), {})
        self.assertEqual(self.found(Figures("no engine", "none", finished=400.0)), {})


class TablesTest(unittest.TestCase):
    def test_no_line_is_wider_than_a_terminal(self) -> None:
        name = max((peer.shown for peer in peers.ALL), key=len)
        wide = Figures(name, "dbos", *[9876.5] * 7)
        fate = Fate(name, "act", *[9876] * 8)
        lines = [*peer_figures.FIGURES_TITLE.splitlines(), wide.line()]
        lines += [*peer_figures.FATES_TITLE.splitlines(), fate.line()]
        lines += [target.line() for target in targets(OURS, [replace(DBOS, name=name), TEMPORAL])]
        for line in lines:
            self.assertLessEqual(len(line), peer_figures.WIDTH_MAX, line)

    def test_a_column_stands_under_its_title(self) -> None:
        for title, line in (
            (peer_figures.FIGURES_TITLE, Figures("x", "dbos", *[1.0] * 7).line()),
            (peer_figures.FATES_TITLE, Fate("x", "act", *[1] * 8).line()),
        ):
            self.assertEqual({len(part) for part in title.splitlines()}, {len(line)})

    def test_what_nobody_tells_is_no_cost_of_nothing(self) -> None:
        self.assertIsNone(Figures("x", "none", finished=1.0).together_ms)
        no_server = Figures("x", "none", postgres_ms=3.5, program_ms=0.5)
        self.assertEqual(no_server.together_ms, 4.0)

    def test_who_loses_doubles_or_pays_back_what_was_shipped_is_not_well(self) -> None:
        well = Fate("x", "act", 100, 200, 198, 2, 0, 0, 0, 0)
        self.assertTrue(well.is_well)
        for wrong in ("never_ended", "twice", "shipped_and_refunded"):
            self.assertFalse(replace(well, **{wrong: 1}).is_well, wrong)


class BenchTest(unittest.TestCase):
    def test_ordersaga_and_the_textbook_are_read_out_of_the_benchmark(self) -> None:
        ours, textbook = of_bench(BENCH)
        self.assertEqual((ours.finished, ours.p50_ms, ours.p99_ms), (44.7, 2170.0, 2630.0))
        self.assertEqual((ours.postgres_ms, ours.server_ms), (9.2, 21.7))
        self.assertAlmostEqual(ours.program_ms or 0.0, 8.8)
        self.assertEqual((ours.accepts, textbook.accepts), (206.2, 603.0))
        self.assertEqual((textbook.family, textbook.finished), ("temporal", 19.1))

    def test_worker_and_starter_in_one_process_are_read_as_one(self) -> None:
        two = "worker                          1.3        6.6       11.0\n"
        one = "worker and starter              1.3        7.9       11.0\n"
        starter = "starter                         0.0        1.3        0.0\n"
        text = BENCH.replace(two, one).replace(starter, "")
        self.assertNotEqual(text, BENCH)
        self.assertAlmostEqual(of_bench(text)[0].program_ms or 0.0, 8.8)

    def test_orders_that_arrive_at_a_rate_of_their_own_are_the_accepts_that_count(self) -> None:
        arrive = "\n── 75000 orders arrive, 2500 a second ──\naccepted per second         2491\n"
        ours, textbook = of_bench(BENCH + arrive)
        self.assertEqual((ours.accepts, textbook.accepts), (2491.0, 603.0))

    def test_what_the_benchmark_does_not_tell_is_not_made_up(self) -> None:
        ours, _ = of_bench(BENCH.replace("finished per second", "ended per second"))
        self.assertIsNone(ours.finished)
        self.assertEqual(ours.p50_ms, 2170.0)
        ours, _ = of_bench("nothing")
        self.assertIsNone(ours.together_ms)


class RunnerTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def test_a_servers_own_lines_are_told_from_what_the_program_tells(self) -> None:
        log = self.folder / "program.log"
        log.write_text('a warning\n{"level":"warn"}\n{"event":"begin"}\n{"event":"measured","fin')
        self.assertEqual(set(peers.told(log)), {"begin"})
        self.assertEqual(peers.told(self.folder / "none.log"), {})

    def test_processor_time_is_that_of_children_too(self) -> None:
        taken = {7: (1, 42), 8: (7, 10), 9: (8, 5), 2: (1, 99)}
        self.assertEqual(peers.ticks_of(7, taken), 57)

    def test_processor_time_is_shared_by_the_orders_that_have_ended(self) -> None:
        before, after = {"postgres": 1.5, "restate": None}, {"postgres": 2.5, "restate": 1.0}
        self.assertEqual(peers.millis_each(before, after, 200, "postgres"), 5.0)
        for name, orders in (("restate", 200), ("postgres", 0), ("nobody", 200)):
            self.assertIsNone(peers.millis_each(before, after, orders, name))

    def test_servers_of_somebody_else_are_refused(self) -> None:
        for name in ("DATABASE_URL", "TEMPORAL_ADDRESS"):
            with mock.patch.dict(os.environ, {name: "somebody"}):
                with self.assertRaisesRegex(Problem, f"unset {name}"):
                    peers.refuse_unfair(with_ordersaga=False)

    def test_programs_that_were_built_to_run_slower_are_refused(self) -> None:
        with mock.patch.dict(os.environ, ORDERSAGA_PROFILE="dev"):
            with self.assertRaisesRegex(Problem, "unset it"):
                peers.refuse_unfair(with_ordersaga=True)

    def test_a_folder_of_somebody_else_is_refused_before_anything_runs(self) -> None:
        ground = self.folder / "ground"
        ground.mkdir()
        (ground / "letters").write_text("mine")
        tools = peers.Tools(*[self.folder] * 6)
        with self.assertRaisesRegex(Problem, "holds other files"):
            with peers.ground(peers.ALL[0], tools, self.folder, mock.Mock()):
                self.fail("it was opened")
        self.assertEqual((ground / "letters").read_text(), "mine")

    def test_who_lacks_a_program_is_left_out_and_the_others_are_not(self) -> None:
        path = self.folder
        without_go = peers.Tools(path, path, path, go=None, python=path, restate=path)
        left_out = [peer.name for peer in peers.ALL if without_go.missing_for(peer)]
        self.assertEqual(left_out, [p.name for p in peers.ALL if p.language == "go"])
        self.assertIn("https://go.dev", without_go.missing_for(peers.ALL[0]) or "")
        without_node = peers.Tools(path, path, path, go=path, python=path, restate=None)
        told = {p.name: without_node.missing_for(p) for p in peers.ALL}
        self.assertEqual([name for name, why in told.items() if why], ["restate"])

    def test_no_npm_is_no_restate_and_no_error(self) -> None:
        with mock.patch.dict(os.environ, PATH=str(self.folder)):
            self.assertIsNone(peers.fetch_restate(self.folder))

    def test_the_pinned_versions_are_exact(self) -> None:
        pinned = (peers.PEERS / "python" / "requirements.txt").read_text().split()
        self.assertTrue(pinned)
        self.assertEqual([line for line in pinned if line.count("==") != 1], [])

    def test_settings_for_restate_leave_its_durability_as_it_is(self) -> None:
        settings = peers.restate_settings(Path("/x"), 1, 2, 3)
        self.assertNotIn("fsync", settings)
        self.assertIn('bind-address = "127.0.0.1:2"', settings)

    def looks(self, states: list[dict[str, int]], promised: int, every: int = 3) -> int:
        """The number of polls until it succeeds or gives up; the last state repeats."""
        clock, signals, seen = iter(range(0, 10_000, every)), mock.Mock(), []

        def progress() -> dict[str, int]:
            seen.append(states[min(len(seen), len(states) - 1)])
            return seen[-1]

        with mock.patch.object(peers.time, "monotonic", lambda: float(next(clock))):
            peers.until_quiet(progress, promised, signals)
        return len(seen)

    def test_quiet_is_when_every_promised_order_has_ended(self) -> None:
        states = [{"open": 5, "ended": 0}, {"open": 0, "ended": 5}, {"open": 0, "ended": 6}]
        self.assertEqual(self.looks(states, promised=6), 3)
        self.assertEqual(self.looks(states, promised=0), 2, "what is open is waited for, too")

    def test_what_does_not_move_any_more_is_not_waited_for_without_end(self) -> None:
        stands = [{"open": 1, "ended": 5}]
        self.assertLess(self.looks(stands, promised=6, every=10), peers.PATIENCE_SECONDS / 10)
        moves = [{"open": 1, "ended": 5, "events": number} for number in range(1000)]
        self.assertGreater(self.looks(moves, promised=6, every=10), peers.QUIET_SECONDS / 10 + 2)


class CommandLineTest(unittest.TestCase):
    def test_an_unknown_peer_is_refused_with_those_that_there_are(self) -> None:
        with redirect_stderr(StringIO()) as said, self.assertRaises(SystemExit):
            peers.parse(["--only", "nobody"])
        self.assertIn("dbos-steps", said.getvalue())

    def test_a_foreign_database_ends_it_with_one_line(self) -> None:
        program = Path(peers.__file__)
        with tempfile.TemporaryDirectory() as data:
            ended = subprocess.run(
                [sys.executable, program, "--data", data, "--only", "none"],
                env={**os.environ, "DATABASE_URL": "postgres://somebody@else/shop"},
                capture_output=True,
                text=True,
            )
        self.assertEqual(ended.returncode, 1)
        self.assertIn("unset DATABASE_URL", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)


if __name__ == "__main__":
    unittest.main()
