"""The README of a role, from what the role itself says: `meta/main.yml` and `meta/argument_specs.yml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cloud_hub.fleet.errors import WheelhouseError

NOTE = "<!-- Written by `make role-readmes` from meta/main.yml and meta/argument_specs.yml: change those. -->"
# Ansible's markup for documentation: code, option, value, variable, bold, italic.
_MARKUP = re.compile(r"\b([COVEBI])\(((?:[^()\\]|\\.)*)\)")
_AROUND = {"B": "**", "I": "*"}


def _markdown(text: str) -> str:
    return _MARKUP.sub(lambda found: f"{(mark := _AROUND.get(found[1], '`'))}{found[2]}{mark}", " ".join(text.split()))


def _paragraphs(description: str | Sequence[str]) -> list[str]:
    return [_markdown(one) for one in ([description] if isinstance(description, str) else description)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    if option.get("default") is None:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def _kind(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    return f"{kind} of {option['elements']}" if "elements" in option else kind


def _rows(options: Mapping[str, Mapping[str, Any]], above: str = "") -> Iterator[str]:
    for name, option in options.items():
        told = " ".join(_paragraphs(option.get("description", "")))
        if choices := option.get("choices"):
            told += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        cells = (f"`{above}{name}`", _kind(option), _default(option), told)
        yield f"| {' | '.join(map(_cell, cells))} |"
        yield from _rows(option.get("options", {}), f"{above}{name}.")


def render(role: Path) -> str:
    """The text of a role's README. Raises: WheelhouseError: the role does not describe itself."""
    described = role / "meta" / "argument_specs.yml"
    try:
        about = yaml.safe_load((role / "meta" / "main.yml").read_text("utf-8"))["galaxy_info"]
        specs: dict[str, dict[str, Any]] = yaml.safe_load(described.read_text("utf-8"))["argument_specs"]
        lines = [NOTE, "", f"# millwright.fleet.{role.name}", "", f"{about['description']}."]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise WheelhouseError(f"{role}: expected meta/main.yml and meta/argument_specs.yml: {error}") from error
    for entry, spec in specs.items():
        title = "Variables" if entry == "main" else f"Variables of the entry point `{entry}`"
        for paragraph in _paragraphs(spec.get("description", [])):
            lines += ["", paragraph]
        lines += ["", f"## {title}", ""]
        lines += ["| variable | type | default | what it is |", "|---|---|---|---|", *_rows(spec.get("options", {}))]
    platforms = [f"{one['name']} ({', '.join(map(str, one.get('versions', ['any'])))})" for one in about["platforms"]]
    lines += [
        "",
        f"Runs on {', '.join(platforms)}; Ansible {about['min_ansible_version']} or later. {about['license']}.",
    ]
    return "\n".join(lines) + "\n"


def write_all(roles: Path) -> list[Path]:
    """Write the README of every role; those that changed."""
    changed = []
    for role in sorted(path.parent.parent for path in roles.glob("*/meta/main.yml")):
        readme = role / "README.md"
        text = render(role)
        if not readme.exists() or readme.read_text("utf-8") != text:
            readme.write_text(text, "utf-8")
            changed.append(readme)
    return changed
