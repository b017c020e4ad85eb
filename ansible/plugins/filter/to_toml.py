"""Inventory variables as a TOML document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from ansible.errors import AnsibleFilterError

DOCUMENTATION = """
  name: to_toml
  short_description: A mapping as a TOML document
  version_added: 0.1.0
  description:
    - Mappings become tables, lists of mappings arrays of tables.
    - Keys whose value is C(none) are left out, since TOML has no such value.
  options:
    _input:
      description: What the document shall hold.
      type: dict
      required: true
"""

EXAMPLES = """
# "[broker]\\nport = 8883\\n"
settings: "{{ {'broker': {'port': 8883}} | millwright.fleet.to_toml }}"
"""

RETURN = """
  _value:
    description: The document.
    type: str
"""


def to_toml(document: object) -> str:
    """The document. Raises: AnsibleFilterError: it holds what TOML cannot say."""
    if not isinstance(document, Mapping):
        raise AnsibleFilterError(f"to_toml: expected a mapping, got {type(document).__name__}")
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def _table(table: Mapping[object, object], path: tuple[str, ...]) -> list[str]:
    """Plain keys first: in TOML they would else belong to the table before them."""
    given = {key: value for key, value in table.items() if value is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in given.items() if not _is_table(value)]
    for key, value in given.items():
        if not _is_table(value):
            continue
        below = (*path, _key(key))
        name = ".".join(below)
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]", *_table(value, below)]
        else:
            for entry in value:
                lines += ["", f"[[{name}]]", *_table(entry, below)]
    return lines


def _is_table(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return _is_list(value) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _key(key: object) -> str:
    text = str(key)
    bare = text and text.isascii() and all(c.isalnum() or c in "-_" for c in text)
    return text if bare else _text(text)


def _text(text: str) -> str:
    # JSON's strings are TOML's, but for one character that JSON need not escape, and for pairs of surrogates.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return _text(value)
    if _is_list(value):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    kind = type(value).__name__
    raise AnsibleFilterError(f"to_toml: expected a string, number, boolean, list or mapping, got {kind}")


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, object]:
        """By name."""
        return {"to_toml": to_toml}
