"""The documents are true: commands that the README shows exist, decisions are numbered, the contract is described."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # starts a process for every question

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@cache
def help_of(program: str, *verb: str) -> str:
    module = program.replace("-", "_")
    command = [sys.executable, "-m", module, *verb, "--help"]
    environment = {"COLUMNS": "200", "PATH": "/usr/bin:/bin", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return done.stdout


@pytest.mark.parametrize("program", ["cloud-hub", "edge-agent", "firmware-sim"])
def test_the_table_of_verbs_is_complete_and_true(program: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{program}`"))
    told = set(re.findall(r"`([a-z-]+)`", row)) - {program}
    text = help_of(program)
    real = set(re.findall(r"^[│ ]+([a-z][a-z-]+)(?:  |$)", text, re.MULTILINE)) - {"positional", "options"}
    assert told == {verb for verb in real if verb in told or help_works(program, verb)}


def help_works(program: str, verb: str) -> bool:
    try:
        help_of(program, verb)
    except subprocess.CalledProcessError:
        return False
    return True


def test_every_option_in_the_readme_exists() -> None:
    shown = re.findall(r"(cloud-hub|edge-agent|firmware-sim) ([^`\n#&|]+)", README)
    assert len(shown) > 5
    for program, rest in shown:
        words = rest.split()
        verb = [w for w in words[:2] if re.fullmatch(r"[a-z-]+", w) and not w.startswith("-")]
        if words[0].startswith("-"):
            verb = []
        text = help_of(
            program,
            *verb[
                : 2
                if verb[:1] in (["evaluate"], ["keys"], ["identity"], ["rollout"], ["broker"], ["token"], ["user"])
                else 1
            ],
        )
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in text, f"README: {program} {rest}: no {option}"


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


def test_files_that_documents_link_to_exist() -> None:
    for document in ("README.md", "DECISIONS.md", "CHANGELOG.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / document).read_text("utf-8")):
            assert (ROOT / link).exists(), f"{document}: {link}"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(n) for n in re.findall(r"^## (\d+)\.", (ROOT / "DECISIONS.md").read_text("utf-8"), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_format_names_every_member_and_kind() -> None:
    from models.bundle.archive import MEMBER_LIMITS
    from models.bundle.manifest import FEATURE_KINDS, SCORE_KINDS

    text = (ROOT / "models" / "bundle" / "FORMAT.md").read_text("utf-8")
    for name in (*MEMBER_LIMITS, *FEATURE_KINDS, *SCORE_KINDS):
        assert f"`{name}`" in text or f"{name}" in text, f"FORMAT.md does not mention {name}"
