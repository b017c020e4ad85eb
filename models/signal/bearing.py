"""Fault orders of a rolling-element bearing from its geometry."""

from __future__ import annotations

import math

from models.errors import SignalError


def bearing_orders(balls: int, ball_mm: float, pitch_mm: float, angle_deg: float = 0.0) -> dict[str, float]:
    """Fault frequencies as multiples of shaft rate: BPFO, BPFI, BSF, FTF; outer race at rest, inner race turning.

    BSF is twice the element's spin: a fault on an element strikes both races in each of its turns. Source: Randall &
    Antoni 2011, "Rolling element bearing diagnostics - a tutorial", equations 1 to 4. Real orders are off by a percent
    or two, because elements slip.

    Args:   balls: rolling elements in one row. ball_mm, pitch_mm: their diameter and that of the circle of their
            centres, in one unit. angle_deg: of contact.
    Raises: SignalError: no such bearing.
    """
    if balls < 3 or not 0 < ball_mm < pitch_mm or not 0 <= angle_deg < 90:
        raise SignalError(
            f"bearing: expected 3 balls or more, 0 < ball_mm < pitch_mm and an angle from 0 to below 90 degrees, got "
            f"{balls} balls, {ball_mm:g} and {pitch_mm:g} mm, {angle_deg:g} degrees"
        )
    ratio = ball_mm / pitch_mm * math.cos(math.radians(angle_deg))
    return {
        "BPFO": balls / 2 * (1 - ratio),
        "BPFI": balls / 2 * (1 + ratio),
        "BSF": pitch_mm / ball_mm * (1 - ratio**2),
        "FTF": (1 - ratio) / 2,
    }
