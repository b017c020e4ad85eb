"""`python -m tests.fuzz.harness TARGET [libFuzzer options]`: coverage-guided, with atheris; see `make fuzz`.

The corpus of seeds is written by code into a folder that is given as the last argument.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["models", "cloud_hub.ingest"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[-1])
    target = TARGETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(target.seeds()):
        (folder / f"seed-{at}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: (target(bytes(data)), None)[1])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
