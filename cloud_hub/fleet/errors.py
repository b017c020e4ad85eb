"""What can go wrong with an archive.

WheelhouseError            an archive cannot be made: 1
└── RefusedError           an archive is not what was signed: 4
"""

from __future__ import annotations

from models.errors import MillwrightError


class WheelhouseError(MillwrightError):
    """An archive cannot be made; the text names the platform and the package."""

    exit_code = 1


class RefusedError(WheelhouseError):
    """An archive is not what was signed. `files` names the members that differ, when that much is known."""

    exit_code = 4

    def __init__(self, text: str, files: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.files = files
