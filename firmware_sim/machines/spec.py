"""What the parts of a scenario have in common: each part's schema stands beside the code that it configures."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all tables of a scenario. msgspec inherits `forbid_unknown_fields`, but not `kw_only`."""


Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
