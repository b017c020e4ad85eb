"""The locks agree with each other, and name no registry."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "requirements"
LOCKS = sorted(path.name for path in FOLDER.glob("*.txt"))
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


def pins(name: str) -> dict[tuple[str, str], str]:
    """Package and marker to version."""
    return {(p, marker.strip()): v for p, v, marker in PIN.findall((FOLDER / name).read_text("utf-8"))}


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_is_named_and_everything_is_hashed(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert "://" not in text
    assert "index-url" not in text
    assert text.count("--hash=sha256:") >= len(pins(name)) > 5


def test_the_benchmark_compares_with_the_versions_that_ship() -> None:
    ours, theirs = pins("lock.txt"), pins("lock-bench.txt")
    shared = {name for name, _ in ours} & {name for name, _ in theirs}
    assert {"numpy", "scipy", "msgspec", "ai-edge-litert"} <= shared
    assert {key: v for key, v in theirs.items() if key[0] in shared} == {
        key: v for key, v in ours.items() if key[0] in shared and key in theirs
    }
    assert {"pyod", "river"} <= {name for name, _ in theirs}
    assert not {"pyod", "river"} & {name for name, _ in ours}
