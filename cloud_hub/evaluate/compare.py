"""Two bundles side by side: what their manifests and their evaluations differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

Section = Literal[
    "identity", "evaluation", "input", "features", "score", "calibration", "decision", "budgets", "data", "training"
]
SECTIONS: tuple[Section, ...] = (
    "identity", "evaluation", "input", "features", "score", "calibration", "decision", "budgets", "data", "training",
)  # fmt: skip
_OF_MANIFEST: dict[str, Section] = {
    "slot": "identity", "version": "identity", "family": "identity", "title": "identity", "schema": "identity",
    "input": "input", "features": "features", "normalisation": "features", "network": "score", "score": "score",
    "calibration": "calibration", "decision": "decision", "budgets": "budgets", "golden_tolerance": "budgets",
}  # fmt: skip
_LONG = 24  # numbers in a row are shown up to so many


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `one`, `other`: None where a bundle does not have it. `change`: other minus one, of numbers."""

    section: Section
    name: str
    one: str | float | int | bool | None
    other: str | float | int | bool | None
    same: bool
    change: float | None = None


def compare(
    one: Mapping[str, Any], other: Mapping[str, Any], evaluations: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[Row]:
    """What two bundles have, name by name, in the order of `SECTIONS`.

    Args: one, other: manifests as plain JSON values. evaluations: `evaluation.json` of both, likewise.
    """
    pairs = [
        dict(_figures(manifest, evaluation)) for manifest, evaluation in zip((one, other), evaluations, strict=True)
    ]
    rows = []
    for section, name in dict.fromkeys([*pairs[0], *pairs[1]]):
        left, right = (pair.get((section, name)) for pair in pairs)
        number = _number(left) and _number(right)
        rows.append(
            Row(
                section=section, name=name, one=left, other=right, same=left == right,
                change=right - left if number and left is not None and right is not None else None,  # type: ignore[operator]
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: SECTIONS.index(row.section))


def _figures(
    manifest: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> Iterator[tuple[tuple[Section, str], str | float | int | bool | None]]:
    for key, value in manifest.items():
        section = _OF_MANIFEST.get(key)
        if section is not None:
            yield from (((section, name), leaf) for name, leaf in _leaves(key, value))
    provenance = manifest.get("provenance", {})
    for name, digest in provenance.get("data", {}).items():
        yield ("data", name), digest
    for name in ("windows_train", "windows_validation"):
        yield ("data", name), provenance.get(name)
    for name in ("seed", "code", "accepted"):
        yield ("training", name), provenance.get(name)
    for name, version in provenance.get("libraries", {}).items():
        yield ("training", name), version
    for key, value in evaluation.items():
        if not _scores(value):
            yield from ((("evaluation", name), leaf) for name, leaf in _leaves(key, value))


def _leaves(name: str, value: object) -> Iterator[tuple[str, str | float | int | bool | None]]:
    """The figures in a value, each with the way to it; long rows of numbers as how many and from where to where."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part)
    elif isinstance(value, list) and all(_number(part) for part in value) and len(value) > _LONG:
        yield name, f"{len(value)} numbers from {min(value):.4g} to {max(value):.4g}, sum {sum(value):.6g}"
    elif isinstance(value, list) and not any(isinstance(part, (Mapping, list)) for part in value):
        yield name, ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            tag = part.get("kind") or part.get("head") or part.get("check") if isinstance(part, Mapping) else None
            yield from _leaves(f"{name}[{tag or number}]", part)
    elif value is None or isinstance(value, (str, int, float)):
        yield name, value


def _scores(value: object) -> bool:
    """Whether it is one of an evaluation's columns of scores, which plots show and figures do not."""
    return isinstance(value, list) and bool(value) and all(_number(part) for part in value)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
