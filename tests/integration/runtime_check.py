"""Run in the environment of one TFLite runtime, as a gateway would have it: replay a bundle, print what came out.

Arguments: bundle, kind of runtime. Standard output: one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edge_agent.install import load_network, prove
from edge_agent.runtime import find_runtime
from models.bundle.archive import read_bundle
from models.signal.score import Scorer


def main() -> None:
    """Load, prove, score."""
    path, kind = sys.argv[1:]
    bundle = read_bundle(Path(path).read_bytes(), path)
    runtime = find_runtime(kind)
    loaded = load_network(bundle, runtime)
    report, _ = prove(bundle, loaded, runtime)
    scorer = Scorer(loaded.manifest, loaded.network)
    raw = scorer.score(scorer.extract(bundle.golden.windows)).raw
    heavy = sorted({"tensorflow", "scipy", "fastapi", "pandas"} & {m.split(".")[0] for m in sys.modules})
    result = {
        "runtime": runtime.name,
        "numpy": np.__version__,
        "raw": raw.tolist(),
        "max_difference": report.max_difference,
        "heavy": heavy,
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
