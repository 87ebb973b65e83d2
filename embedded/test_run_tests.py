"""How the test programs are found and run, without building any."""

import io
import json
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path

from run_tests import REPO, Program, Runs, have_binaries, programs


def artifact(name: str, is_test: bool, executable: str | None) -> str:
    return json.dumps(
        {
            "reason": "compiler-artifact",
            "manifest_path": str(REPO / "relay/Cargo.toml"),
            "target": {"name": name, "kind": ["test"], "src_path": str(REPO / f"relay/tests/{name}.rs")},
            "profile": {"test": is_test},
            "executable": executable,
        }
    )


class Found(unittest.TestCase):
    def test_programs_are_what_is_built_to_test(self) -> None:
        messages = [
            artifact("relay", True, None),
            artifact("ordersaga", False, "/target/ordersaga"),
            artifact("mail", True, "/target/mail-1"),
            '{"reason":"build-script-executed"}',
            "a line of a build script",
        ]
        expected = Program(
            "mail", "test", REPO / "relay/tests/mail.rs", REPO / "relay", Path("/target/mail-1")
        )
        self.assertEqual(list(programs(messages)), [expected])


    def test_packages_with_programs_are_told_from_libraries(self) -> None:
        packages = [
            {"manifest_path": "/cli/Cargo.toml", "targets": [{"kind": ["test"]}, {"kind": ["bin"]}]},
            {"manifest_path": "/saga/Cargo.toml", "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]},
        ]
        self.assertEqual(have_binaries(packages), {Path("/cli")})


class Run(unittest.TestCase):
    def program(self, name: str, script: str) -> Program:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{script}\n")
        path.chmod(0o755)
        return Program(name, "test", folder / "tests.rs", folder, path)

    def test_a_failure_is_told_and_ends_no_other_program(self) -> None:
        said = io.StringIO()
        with redirect_stdout(said), Runs() as runs:
            failing = self.program("failing", "print('it broke'); exit(101)")
            for program in (failing, self.program("other", "print('it holds')")):
                runs.start(program)
            failures = runs.failures()
        self.assertEqual(failures, [failing.title])
        self.assertIn("has ended with 101:\nit broke\n", said.getvalue())
        self.assertIn("has ended with 0:\nit holds\n", said.getvalue())

    def test_a_program_runs_in_its_packages_folder(self) -> None:
        program = self.program("where", "import os; print(os.getcwd(), os.environ['CARGO_MANIFEST_DIR'])")
        said = io.StringIO()
        with redirect_stdout(said), Runs() as runs:
            runs.run(program)
        self.assertIn(f"{program.folder} {program.folder}\n", said.getvalue())


if __name__ == "__main__":
    unittest.main()
