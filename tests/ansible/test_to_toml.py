"""Inventory variables as TOML: what is read back is what was given, whatever it is."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PLUGIN = Path(__file__).parents[2] / "ansible" / "plugins" / "filter" / "to_toml.py"


class FilterError(Exception):
    pass


def load() -> ModuleType:
    """The plugin, without Ansible: of that it needs one exception, and Ansible's environment is another one."""
    errors = ModuleType("ansible.errors")
    errors.AnsibleFilterError = FilterError  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("ansible", "ansible.errors")}
    sys.modules |= {"ansible": ModuleType("ansible"), "ansible.errors": errors}
    try:
        spec = importlib.util.spec_from_file_location("to_toml", PLUGIN)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    return module


to_toml = load().to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_read_back_is_what_was_given(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_it_reads_as_a_person_would_write_it() -> None:
    point = {"machine": "P-101", "port": None, "axes": ["x"], "facts": {"shaft_hz": 29.95, "orders": {"BPFO": 3.585}}}
    document = {"gateway": {"id": "gw-1"}, "frames": {"port": 1883}, "point": [point, {"machine": "P-102"}]}
    assert to_toml(document) == (
        '[gateway]\nid = "gw-1"\n\n[frames]\nport = 1883\n\n[[point]]\nmachine = "P-101"\naxes = ["x"]\n\n'
        '[point.facts]\nshaft_hz = 29.95\n\n[point.facts.orders]\nBPFO = 3.585\n\n[[point]]\nmachine = "P-102"\n'
    )  # fmt: skip


@pytest.mark.parametrize("document", [["a"], "a", {"a": object()}, {"a": [None]}, {"a": {"b": [{1, 2}]}}])
def test_what_toml_cannot_say_is_refused(document: object) -> None:
    with pytest.raises(FilterError, match="to_toml: expected "):
        to_toml(document)
