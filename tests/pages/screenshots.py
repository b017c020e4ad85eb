"""`make screenshots`: pictures of every page, to be looked at, and small ones for the README.

A picture of a page that a person could not use is not taken: whatever fails a test of the pages fails here.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image  # matplotlib brings it
from playwright.sync_api import sync_playwright

from tests.pages.conftest import make_hub
from tests.pages.harness import ARGUMENTS, CHROMIUM, DESKTOP, PHONE, window

ROOT = Path(__file__).parent.parent.parent
MAX_SMALL_BYTES = 100_000
_SMALL_WIDTH = 820


@dataclass(frozen=True, slots=True)
class Shot:
    """A page. `small`: the widths at which the README shows it."""

    name: str
    path: str
    small: tuple[str, ...] = ()


# Every page that is worth a look. Add yours.
SHOTS = [
    Shot("overview", "/", small=("desktop", "phone")),
    Shot("alarms", "/alarms"),
    Shot("alarm", "/alarms/gw-pumps.a-103", small=("desktop",)),
    Shot("alarm-load", "/alarms/floods"),
    Shot("machines", "/machines"),
    Shot("machine", "/machines/P-103", small=("desktop",)),
    Shot("models", "/models"),
    Shot("training", "/models/training/new"),
    Shot("rollouts", "/rollouts"),
    Shot("rollout", "/rollouts/pumps-3", small=("desktop",)),
    Shot("new-rollout", "/rollouts/new"),
    Shot("data", "/data"),
    Shot("captures", "/data/captures"),
    Shot("gateways", "/gateways"),
    Shot("gateway", "/gateways/gw-pumps"),
    Shot("people", "/admin/users"),
    Shot("hooks", "/admin/hooks"),
    Shot("audit", "/admin/audit"),
    Shot("account", "/account"),
    Shot("api", "/api"),
    Shot("gallery", "/gallery"),
]


def take(folder: Path, docs: Path | None) -> list[Path]:
    """Take all of them. Returns: the files."""
    made: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        hub = make_hub(Path(home))
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        with hub.database, hub.served() as url:
            for shot in SHOTS:
                for size, width in ((DESKTOP, "desktop"), (PHONE, "phone")):
                    for scheme in ("light", "dark") if shot.path == "/" else ("light",):
                        one = window(browser, url, size, scheme=scheme)
                        one.open(shot.path)
                        made.append(folder / f"{shot.name}-{width}-{scheme}.png")
                        one.page.screenshot(path=made[-1], full_page=True)
                        if docs is not None and width in shot.small and scheme == "light":
                            name = shot.name if width == "desktop" else f"{shot.name}-{width}"
                            made.append(small(one.page.screenshot(), docs / f"{name}.webp"))
                        one.check()
                        one.page.context.close()
        browser.close()
    return made


def small(png: bytes, path: Path) -> Path:
    """The visible part as WebP, scaled down. Raises: ValueError: it is too large for the README."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > _SMALL_WIDTH:
        picture = picture.resize(
            (_SMALL_WIDTH, picture.height * _SMALL_WIDTH // picture.width), Image.Resampling.LANCZOS
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "WEBP", quality=82, method=6)
    if path.stat().st_size > MAX_SMALL_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; a picture of the README has at most {MAX_SMALL_BYTES}")
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "screenshots")
    parser.add_argument("--no-docs", action="store_true", help="leave the small ones in docs/ as they are")
    arguments = parser.parse_args()
    for path in take(arguments.folder, None if arguments.no_docs else ROOT / "docs"):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
