"""Guessing what a column measures: from its name, and for accelerations from gravity. A guess is always said to be one.

Temperature ranges are not used: 90 may be degrees Celsius or Fahrenheit, and nothing in the values tells which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_hub.inspecting.result import Source

_UNITS = {
    "g": ("acceleration", "g"), "m/s2": ("acceleration", "m/s2"), "m/s^2": ("acceleration", "m/s2"),
    "m/s²": ("acceleration", "m/s2"), "ms2": ("acceleration", "m/s2"), "mps2": ("acceleration", "m/s2"),
    "mm/s": ("velocity", "mm/s"), "mms": ("velocity", "mm/s"), "m/s": ("velocity", "m/s"),
    "degc": ("temperature", "degC"), "°c": ("temperature", "degC"), "celsius": ("temperature", "degC"),
    "c": ("temperature", "degC"), "k": ("temperature", "K"), "kelvin": ("temperature", "K"),
    "f": ("temperature", "degF"), "degf": ("temperature", "degF"), "°f": ("temperature", "degF"),
    "bar": ("pressure", "bar"), "pa": ("pressure", "Pa"), "kpa": ("pressure", "kPa"), "psi": ("pressure", "psi"),
    "a": ("current", "A"), "amp": ("current", "A"), "amps": ("current", "A"), "ma": ("current", "mA"),
    "v": ("voltage", "V"), "rpm": ("speed", "rpm"), "l/min": ("flow", "l/min"), "m3/h": ("flow", "m3/h"),
    "kw": ("power", "kW"), "w": ("power", "W"), "nm": ("torque", "Nm"),
}  # fmt: skip
_WORDS = (
    ("acceleration", r"acc|accel\w*|vib\w*|ax|ay|az|de|nde|fe|ba|radial|axial|horizontal|vertical|tangential"),
    ("velocity", r"vel|velocity"),
    ("temperature", r"temp|temperature|thermo\w*"),
    ("pressure", r"press|pressure"),
    ("current", r"curr|current|amps?"),
    ("voltage", r"volt|voltage"),
    ("flow", r"flow"),
    ("speed", r"rpm|speed"),
    ("sound", r"mic|microphone|sound|audio"),
    ("power", r"power"),
    ("torque", r"torque"),
)
_POSITIONS = re.compile(r"(?:de|nde|fe|ba|drive.?end|fan.?end|non.?drive.?end|base)", re.IGNORECASE)
_BRACKETS = re.compile(r"[\[(]([^\[\]()]+)[\])]\s*$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|°[a-zA-Z]+")
GRAVITY = {"g": (0.9, 1.1), "m/s2": (9.3, 10.3)}


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column seems to measure."""

    quantity: str | None = None
    unit: str | None = None
    source: Source = "unknown"


def guess_from_name(name: str) -> Guess:
    """Quantity and unit that a column's name tells: `Temp [degC]`, `acc_x_g`, `current_A`, `Accelerometer1RMS`.

    A unit in brackets counts by itself; one that is the last word counts when it is longer than a letter or agrees with
    the quantity that another word names (`phase_a` is no current).
    """
    bracket = _BRACKETS.search(name)
    words = [word.lower() for word in _WORD.findall(name[: bracket.start()] if bracket else name)]
    quantity = next((q for q, pattern in _WORDS if any(re.fullmatch(pattern, w) for w in words)), None)
    if bracket:
        told = _UNITS.get(bracket[1].strip().lower())
        if told is not None and quantity in {None, told[0]}:
            return Guess(*told, "name")
        return Guess(quantity, bracket[1].strip(), "name")
    last = re.split(r"[_\s]", name.strip())[-1].lower()
    told = _UNITS.get(last)
    if told is not None and (quantity == told[0] or (quantity is None and len(last) > 1 and last in words)):
        return Guess(*told, "name")
    return Guess(quantity)


def is_position(name: str) -> bool:
    """Whether a name says where a sensor sits (drive end, fan end) rather than in which direction it feels."""
    return _POSITIONS.fullmatch(name.strip()) is not None


def unit_by_gravity(means: list[float]) -> str | None:
    """The unit in which an accelerometer's mean vector, one entry an axis, is as long as gravity; None for neither.

    Sensors that pass no direct current have a mean near 0 and tell nothing.
    """
    length = sum(mean**2 for mean in means) ** 0.5
    return next((unit for unit, (low, high) in GRAVITY.items() if low <= length <= high), None)
