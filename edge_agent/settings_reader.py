"""Reading settings so that every problem is found, not only the first: each read gives a usable value or a problem."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from edge_agent.errors import ConfigError
from models.contract.ids import check_id
from models.errors import TopicError

N = TypeVar("N", int, float)
REQUIRED: Final[Any] = object()


def whole(value: object) -> int | None:
    """A whole number, from TOML or from an environment variable's text. None: it is none."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def boolean_free_number(value: object) -> float | None:
    """Any finite number; `true` is not 1 here. None: it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # TOML's whole numbers have no end
        return None


class Problems:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Note one problem."""
        self.texts.append(f"{where}: {text}")

    def unknown(self, where: str, key: str, known: Sequence[str]) -> None:
        """Note a key that nobody reads, with the nearest one that somebody does."""
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        self.add(f"{where}, {key}", f"unknown key; {hint}")

    def raise_if_any(self) -> None:
        """Raises: ConfigError: with all of them."""
        if self.texts:
            raise ConfigError(self.texts)


class Table:
    """One TOML table. Each reader returns a value of the right type even when it notes a problem."""

    def __init__(self, values: dict[str, Any], file: str, name: str, problems: Problems) -> None:
        self._values = dict(values)
        self._file = file
        self._name = name
        self._problems = problems
        self._sources: dict[str, str] = {}

    def _where(self, key: str) -> str:
        return self._sources.get(key) or f"{self._file}, {self._name}.{key}".replace(", .", ", ")

    def problem(self, key: str, text: str) -> None:
        """Note a problem with a key."""
        self._problems.add(self._where(key), text)

    def override(self, key: str, value: str, source: str) -> None:
        """Let `value` from elsewhere win; problems with it will name `source`."""
        self._values[key] = value
        self._sources[key] = source

    def allow(self, keys: Sequence[str]) -> None:
        """Note every key that is none of these."""
        where = f"{self._file}, {self._name}".removesuffix(", ")
        for key in self._values:
            if key not in keys:
                self._problems.unknown(where, key, keys)

    def section(self, key: str, keys: Sequence[str]) -> Table:
        """A table below this one, empty when absent."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"expected a table, got {_show(value)}")
            value = {}
        table = Table(value, self._file, f"{self._name}.{key}".removeprefix("."), self._problems)
        table.allow(keys)
        return table

    def tables(self, key: str, keys: Sequence[str]) -> list[Table]:
        """An array of tables, empty when absent."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem(key, f"expected [[{key}]] tables, got {_show(value)}")
            return []
        found = [Table(item, self._file, f"{key}[{at}]", self._problems) for at, item in enumerate(value)]
        for table in found:
            table.allow(keys)
        return found

    def _get(self, key: str, default: Any) -> tuple[bool, Any]:  # noqa: ANN401 - TOML values
        if key in self._values:
            return True, self._values[key]
        if default is REQUIRED:
            self.problem(key, "missing")
            return False, None
        return False, default

    def text(self, key: str, default: str) -> str:
        """A text of 1 to 200 characters."""
        given, value = self._get(key, default)
        if not given:
            return value if isinstance(value, str) else ""
        if not isinstance(value, str) or not 1 <= len(value) <= 200:
            self.problem(key, f"expected a text of 1 to 200 characters, got {_show(value)}")
            return ""
        return value

    def id(self, key: str) -> str:
        """An id of the contract; required."""
        given, value = self._get(key, REQUIRED)
        if given:
            if isinstance(value, str):
                try:
                    return check_id(value, key)
                except TopicError as error:
                    self.problem(key, str(error).removeprefix(f"{key}: "))
            else:
                self.problem(key, f"expected an id, got {_show(value)}")
        return ""

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""
        given, value = self._get(key, default)
        if given and value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.problem(key, f"expected one of {', '.join(choices)}, got {_show(value)}{hint}")
            return default
        return str(value)

    def path(self, key: str, base: Path, default: Path | None = REQUIRED) -> Path | None:
        """A path; a relative one is taken from `base`."""
        given, value = self._get(key, default)
        if not given:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            self.problem(key, f"expected a path, got {_show(value)}")
            return None
        try:
            return base / Path(value).expanduser()
        except RuntimeError:
            self.problem(key, f"expected a path, got {_show(value)}: there is no such user")
            return None

    def number(self, key: str, kind: Callable[[object], N | None], low: N, high: N, default: N) -> N:
        """A number within [low, high]."""
        given, value = self._get(key, default)
        if not given:
            return low if value is None else value  # a missing one is a problem already
        parsed = kind(value)
        if parsed is None or not low <= parsed <= high:
            what = "a whole number" if kind is whole else "a number"
            self.problem(key, f"expected {what} from {low:g} to {high:g}, got {_show(value)}")
            return low
        return parsed

    def texts(self, key: str) -> list[str]:
        """A list of short texts; required."""
        given, value = self._get(key, REQUIRED)
        if not given:
            return ["?"]  # a missing one is a problem already; this keeps the checks of its length quiet
        if not isinstance(value, list) or not all(isinstance(v, str) and 1 <= len(v) <= 64 for v in value):
            self.problem(key, f"expected a list of texts of 1 to 64 characters, got {_show(value)}")
            return ["?"]
        return list(value)

    def numbers(self, key: str, low: float, high: float) -> list[float]:
        """A list of numbers within [low, high], empty when absent."""
        value = self._values.get(key, [])
        parsed = [boolean_free_number(v) for v in value] if isinstance(value, list) else [None]
        good = [v for v in parsed if v is not None and low <= v <= high]
        if len(good) != len(parsed):
            self.problem(key, f"expected a list of numbers from {low:g} to {high:g}, got {_show(value)}")
            return []
        return good

    def number_table(self, key: str, low: float, high: float) -> dict[str, float]:
        """A table from ids to numbers within [low, high], empty when absent."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"expected a table, got {_show(value)}")
            return {}
        table = Table(value, self._file, f"{self._name}.{key}", self._problems)
        for name in value:
            try:
                check_id(name, "name")
            except TopicError as error:
                table.problem(name, str(error))
        return {name: table.number(name, boolean_free_number, low, high, REQUIRED) for name in value}


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
