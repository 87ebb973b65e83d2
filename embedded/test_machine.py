"""Tests of the launcher on a machine with missing requirements: one line says what to do.

Run with: python3 -m unittest discover embedded
"""

from __future__ import annotations

import ast
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import book
import data_folder
import fetch
import machine
import pins
import supply_chain
import tools
from console import Problem, Stopped
from processes import Signals

EMBEDDED = Path(__file__).resolve().parent
REPO = EMBEDDED.parent
MIB = 1024**2


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        # A file, because child processes write to it, too.
        self._said = tempfile.TemporaryFile("w+")
        self.addCleanup(self._said.close)
        redirected = redirect_stderr(self._said)
        redirected.__enter__()
        self.addCleanup(redirected.__exit__, None, None, None)

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read()

    def program(self, name: str, script: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def assert_one_line(self, problem: Exception, *parts: str) -> None:
        self.assertNotIn("\n", str(problem))
        for part in parts:
            self.assertIn(part, str(problem))


class RustTest(Case):
    def test_an_old_rust_is_refused_with_the_way_out(self) -> None:
        cargo = self.program("cargo", "echo 'cargo 1.63.0 (fd9c4297c 2022-07-01)'")
        with self.assertRaises(Problem) as raised:
            machine.refuse_old_rust(cargo, REPO)
        self.assert_one_line(raised.exception, "Rust 1.63.0 is too old", "rustup")

    def test_the_wanted_rust_and_a_newer_one_are_taken(self) -> None:
        wanted = machine.version(machine.re.search(r'"([\d.]+)"', (REPO / "rust-toolchain.toml").read_text()))
        for found in (".".join(map(str, wanted)), "99.0.0-nightly"):
            machine.refuse_old_rust(self.program("cargo", f"echo 'cargo {found} (x 2030-01-01)'"), REPO)

    def test_a_cargo_that_does_not_run_is_quoted(self) -> None:
        cargo = self.program("cargo", "echo 'error: no override and no default toolchain set' >&2; exit 1")
        with self.assertRaises(Problem) as raised:
            machine.refuse_old_rust(cargo, REPO)
        self.assert_one_line(raised.exception, "no default toolchain")

    def test_without_cargo_it_is_said_where_it_comes_from(self) -> None:
        with mock.patch("shutil.which", return_value=None), self.assertRaises(Problem) as raised:
            machine.find_cargo()
        self.assert_one_line(raised.exception, "https://rustup.rs")


class RoomTest(Case):
    def test_a_disk_that_would_be_full_is_said_before_the_build(self) -> None:
        usage = mock.Mock(free=700 * MIB)
        with mock.patch("shutil.disk_usage", return_value=usage), self.assertRaises(Problem) as raised:
            machine.refuse_full_disk(self.folder / "not" / "there")
        self.assert_one_line(raised.exception, "0.7 GiB left", "CARGO_TARGET_DIR")

    def test_what_is_built_already_needs_no_room(self) -> None:
        with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=0)):
            machine.refuse_full_disk(self.folder)

    def env_with(self, mib: int, **env: str) -> dict[str, str]:
        sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": mib * MIB // 4096}
        with mock.patch("os.sysconf", side_effect=sizes.get), mock.patch.dict(os.environ, env):
            if not env:
                os.environ.pop("CARGO_BUILD_JOBS", None)
            return machine.build_env()

    def test_a_small_machine_compiles_one_crate_at_a_time_and_is_told(self) -> None:
        self.assertEqual(self.env_with(2_048)["CARGO_BUILD_JOBS"], "1")
        self.assertIn("2.0 GiB of memory", self.said())

    def test_a_larger_one_and_whoever_says_otherwise_is_left_alone(self) -> None:
        self.assertNotIn("CARGO_BUILD_JOBS", self.env_with(16_384))
        self.assertEqual(self.env_with(2_048, CARGO_BUILD_JOBS="2")["CARGO_BUILD_JOBS"], "2")
        self.assertEqual(self.said(), "")


class ReadOnlyTest(Case):
    """A read-only mount cannot be made here, but its error can be simulated."""

    def setUp(self) -> None:
        super().setUp()
        refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
        patched = mock.patch.object(Path, "mkdir", side_effect=refused)
        patched.start()
        self.addCleanup(patched.stop)

    def test_a_read_only_home_is_told_how_to_have_the_cache_elsewhere(self) -> None:
        with self.assertRaises(Problem) as raised, fetch.one_at_a_time(self.folder / "cache", Signals()):
            self.fail("nothing can be fetched into it")
        self.assert_one_line(raised.exception, "set ORDERSAGA_CACHE")

    def test_a_read_only_data_folder_is_told_how_to_have_another(self) -> None:
        with self.assertRaises(Problem) as raised:
            with data_folder.opened(self.folder / "data", fresh=True, signals=Signals()):
                self.fail("nothing can be kept in it")
        self.assert_one_line(raised.exception, "is read only", "--data")

    def test_another_error_is_not_taken_for_it(self) -> None:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch.object(Path, "mkdir", side_effect=full), self.assertRaises(OSError) as raised:
            with fetch.one_at_a_time(self.folder / "cache", Signals()):
                self.fail("nothing can be fetched into it")
        self.assertNotIsInstance(raised.exception, Problem)


class InterruptedTest(Case):
    def test_a_ctrl_c_while_something_is_fetched_ends_it_and_leaves_nothing_half_done(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as index:
            # It accepts the request and never answers.
            def interrupt() -> None:
                asked, _ = index.accept()
                os.kill(os.getpid(), signal.SIGINT)
                asked.recv(1)

            settings = {
                "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
                "PIP_FIND_LINKS": "",
                "PIP_CONFIG_FILE": os.devnull,
                "NO_PROXY": "127.0.0.1",
            }
            # A shell starts a background job with Ctrl-C ignored.
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            self.addCleanup(signal.signal, signal.SIGINT, before)
            signals = Signals()
            threading.Thread(target=interrupt, daemon=True).start()
            with mock.patch.dict(os.environ, settings), self.assertRaises(Stopped) as raised:
                fetch.programs_of(fetch.TEMPORAL, self.folder, signals)
        self.assertEqual(raised.exception.number, signal.SIGINT)
        self.assertEqual(list(self.folder.iterdir()), [])


class PythonTest(Case):
    def test_an_old_python_can_read_what_refuses_it(self) -> None:
        ast.parse((EMBEDDED / "begin.py").read_text(), feature_version=(3, 4))

    def test_an_old_python_is_told_what_it_needs(self) -> None:
        script = (
            "import sys; sys.version_info = (3, 6, 9); sys.argv = ['begin.py', 'stack.py', 'up']\n"
            f"exec(compile(open({str(EMBEDDED / 'begin.py')!r}).read(), {str(EMBEDDED / 'begin.py')!r}, 'exec'))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("this is Python 3.6.9, and 3.9 or later is needed", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_a_new_one_runs_the_program_with_its_arguments(self) -> None:
        command = [sys.executable, str(EMBEDDED / "begin.py"), "stack.py", "test"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertIn("say what to run: stack.py test -- CMD...", done.stderr)


class PinsTest(Case):
    def test_everything_that_is_fetched_is_pinned_by_hash(self) -> None:
        import books
        import brokers
        import contracts
        import counterparts
        import fuzz
        import invoices
        import verifiers

        sets = [
            (books.BEANCOUNT,),
            (brokers.TANSU,),
            (brokers.READER,),
            (brokers.CONSUMER,),
            (
                contracts.COMPOSE,
                contracts.PROTO,
                contracts.OPENAPI,
                contracts.OPENAPI_STYLE,
                contracts.PROMQL,
                contracts.YAML,
            ),
            (counterparts.LOCALSTRIPE,),
            (counterparts.AIOSMTPD,),
            (fuzz.FUZZER,),
            (invoices.FACTUR_X,),
            (verifiers.PYTHON,),
            (supply_chain.DENY, supply_chain.SHEAR),
            (book.MDBOOK,),
            (pins.RESOLVER,),
            tuple((REPO / "peers" / "python" / "requirements.txt").read_text().split()),
            *((f"{wheel.package}=={wheel.version}",) for wheel in (fetch.POSTGRES, fetch.TEMPORAL)),
        ]
        files = {pins.pinned(packages) for packages in sets}
        self.assertEqual(files, set(pins.PINS.glob("*.txt")), "a file that nothing is fetched by")

    def test_each_line_names_a_version_and_has_a_hash(self) -> None:
        for file in pins.PINS.glob("*.txt"):
            entries = file.read_text().replace("\\\n", " ").splitlines()
            for entry in entries:
                self.assertRegex(entry, r"^[A-Za-z0-9._\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", file)

    def test_a_version_that_is_not_pinned_is_refused_with_the_way_out(self) -> None:
        with self.assertRaises(Problem) as raised:
            pins.pinned(("uv==0.0.1",))
        self.assert_one_line(raised.exception, "pins.py uv==0.0.1")
        with self.assertRaises(Problem) as raised:
            pins.pinned(("no-such-thing==1",))
        self.assert_one_line(raised.exception, "has no hashes")

    def test_pip_is_told_to_take_nothing_else(self) -> None:
        (self.folder / "pins").mkdir()
        (self.folder / "pins" / "thing.txt").write_text("thing==1 \\\n    --hash=sha256:00\n")
        pin = mock.patch.object(tools, "pinned", return_value=self.folder / "pins" / "thing.txt")
        said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE\n"
        done = mock.Mock(returncode=1, stderr=said)
        with pin, mock.patch("subprocess.run", return_value=done) as run, self.assertRaises(Problem) as raised:
            tools.fetched(self.folder, ("thing==1",))
        self.assertIn("--require-hashes", run.call_args.args[0])
        self.assert_one_line(raised.exception, "not what embedded/pins expects")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["pins"], "nothing is left half done")

    def test_a_full_disk_is_told_from_a_missing_network(self) -> None:
        full = fetch.why_pip_failed("cannot fetch x", "ERROR: [Errno 28] No space left on device\n")
        self.assertIn("the disk is full", full)
        away = fetch.why_pip_failed("cannot fetch x", "WARNING: Retrying (Retry(total=1))\n")
        self.assertIn("HTTPS_PROXY", away)


class SupplyChainTest(Case):
    def test_without_the_tools_lint_goes_on_and_says_what_was_not_checked(self) -> None:
        missing = mock.patch.object(supply_chain, "programs", side_effect=Problem("no wheel"))
        with missing:
            self.assertTrue(supply_chain.check(where_possible=True))
        self.assertIn("were NOT checked: no wheel", self.said())
        with missing, self.assertRaises(Problem):
            supply_chain.check(where_possible=False)

    def found(self, deny: str, shear: str = "exit 0") -> mock._patch[object]:
        programs = {
            "cargo-deny": self.program("cargo-deny", deny),
            "cargo-shear": self.program("cargo-shear", shear),
        }
        return mock.patch.object(supply_chain, "programs", return_value=programs)

    def test_any_finding_fails(self) -> None:
        with self.found("exit 0"):
            self.assertTrue(supply_chain.check(where_possible=True))
        with self.found("exit 0", shear="exit 1"):
            self.assertFalse(supply_chain.check(where_possible=True))
        for finding in ("bans", "advisories"):
            with self.found(f'case "$*" in *{finding}*) exit 4 ;; esac'):
                self.assertFalse(supply_chain.check(where_possible=True), finding)

    def test_advisories_that_cannot_be_fetched_are_said_to_be_missing(self) -> None:
        with self.found('case "$*" in *"fetch db"*) exit 1 ;; esac'):
            self.assertTrue(supply_chain.check(where_possible=True))
            self.assertIn("NOT looked for", self.said())
            with self.assertRaises(Problem) as raised:
                supply_chain.check(where_possible=False)
        self.assert_one_line(raised.exception, "ORDERSAGA_ADVISORIES")

    def test_a_clone_of_the_advisories_takes_the_place_of_the_network(self) -> None:
        env = supply_chain.advisory_env({"ORDERSAGA_ADVISORIES": "/clone", "GIT_CONFIG_COUNT": "1"})
        self.assertEqual(env["GIT_CONFIG_COUNT"], "2")
        self.assertEqual(env["GIT_CONFIG_KEY_1"], "url.file:///clone.insteadOf")
        self.assertEqual(env["GIT_CONFIG_VALUE_1"], supply_chain.ADVISORY_DB)


if __name__ == "__main__":
    unittest.main()
