"""Delivery changes files through `storage.Disk` only: what the power-cut tests do not see, they cannot prove."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edge_agent

FOLDER = Path(edge_agent.__file__).parent
# What is not delivery, and is durable in its own way: SQLite, the trust worker's own atomic files, its scratch folder;
# and the command line that a test suite of TUF drives, which no running agent loads.
APART = {"storage.py", "outbox.py", "trust.py", "trust_worker.py", "trust_files.py", "runtime.py", "conformance.py"}
CHANGING = {
    "write_bytes", "write_text", "unlink", "rename", "touch", "mkdir", "rmdir", "symlink_to", "hardlink_to", "truncate",
    "fsync", "copyfile", "copy2", "rmtree", "mkstemp", "makedirs", "renames", "fdopen", "chmod",
}  # fmt: skip
CHANGING_OF = {"os": {"remove", "open", "write"}, "shutil": {"copy", "move"}}  # names that others use harmlessly
THROUGH = {"storage", "disk"}


def changes(source: str) -> Iterator[str]:
    """Calls that change a file otherwise than through the storage layer."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if (called.attr in CHANGING and owner not in THROUGH) or called.attr in CHANGING_OF.get(owner, ()):
                yield f"line {node.lineno}: {ast.unparse(called)}"
            # str.replace takes two arguments and the others keywords; Path.replace takes one.
            if called.attr == "replace" and len(node.args) == 1 and not node.keywords:
                yield f"line {node.lineno}: {ast.unparse(called)}"
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name == "open":
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            modes += [k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
            if any(set(str(mode)) & set("wax+") for mode in modes):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_nothing_of_delivery_changes_a_file_by_itself() -> None:
    found = {
        path.name: found
        for path in sorted(FOLDER.glob("*.py"))
        if path.name not in APART and (found := list(changes(path.read_text("utf-8"))))
    }
    assert found == {}


def test_the_search_finds_what_it_should() -> None:
    bad = (
        "p.write_bytes(b'')\np.replace(q)\nopen(p, 'w')\np.open('ab')\nos.fsync(1)\nshutil.move(a, b)\np.open(mode='x')"
    )
    assert len(list(changes(bad))) == 7
    assert list(changes("storage.truncate(p, 1)\n's'.replace('a', 'b')\np.open('rb')\nreplace(x, a=1)")) == []
