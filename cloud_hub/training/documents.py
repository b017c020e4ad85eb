"""The documents that travel in a bundle for people and auditors: the model card and the bill of materials."""

from __future__ import annotations

import hashlib
import json

from cloud_hub.training.measure import Evaluation
from models.bundle.manifest import Manifest


def model_card(manifest: Manifest, evaluation: Evaluation) -> str:
    """The model card, Markdown, for people."""
    source, auc = manifest.input, evaluation.auc
    return f"""# {manifest.title}

Slot `{manifest.slot}`, version `{manifest.version}`, family `{manifest.family}`.

**What it listens to.** {source.quantity} in {source.units}, axes {", ".join(source.axes)}, {source.rate_hz:g} Hz;
windows of {source.window} samples ({source.window / source.rate_hz:.3g} s), one every {source.hop}.

**What it says.** A score per window: 1.0 is the limit that each point learns from its own first
{manifest.calibration.windows} healthy windows. An alarm needs {manifest.decision.n} of {manifest.decision.m} scores
over {manifest.decision.alarm_level:g}; it clears after {manifest.decision.clear_windows} in a row under
{manifest.decision.clear_level:g}.

**How good it is** (ROC AUC, {evaluation.windows_healthy} held-out healthy windows against
{evaluation.windows_faulty} faulty ones; faults: {evaluation.faults}).

| float | int8, as shipped | {" | ".join(evaluation.baselines)} |
|---|---|{"---|" * len(evaluation.baselines)}
| {auc.real:.4f} | {auc.int8:.4f} | {" | ".join(f"{value:.4f}" for value in evaluation.baselines.values())} |

Its score is a{"n" if evaluation.head[0] in "ae" else ""} {evaluation.head}, the first of {_tried(evaluation)} that no
other beat clearly.{_steady(evaluation)}

False alarms on held-out healthy data: {evaluation.false_alarms}{_rate(evaluation)}; windows over the limit there:
{evaluation.healthy_over_limit:.2%}.

**What it cannot say.** It has learnt what healthy is for the machines, loads and speeds of its training data
({manifest.provenance.windows_train} windows). Calibrate a point only while its machine is healthy.
"""


def _tried(evaluation: Evaluation) -> str:
    return ", ".join(f"{row.head} ({row.auc:.4f})" for row in evaluation.heads) or "one"


def _steady(evaluation: Evaluation) -> str:
    found = evaluation.steadiness
    if found is None or len(found.auc) < 2:
        return ""
    return f" Over {len(found.auc)} seeds: AUC {found.mean:.4f}, spread {found.spread:.4f}."


def _rate(evaluation: Evaluation) -> str:
    rate = evaluation.false_alarm_rate
    if rate is None:
        return ""
    return f" in {rate.hours:.3g} h (95 % interval {rate.low_per_day:.3g} to {rate.high_per_day:.3g} a day)"


def sbom(manifest: Manifest) -> bytes:
    """A CycloneDX 1.5 document of what the bundle was made with."""
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in manifest.provenance.libraries.items()
        if name != "python"
    ]
    data = [
        {"type": "data", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in manifest.provenance.data.items()
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "name": f"{manifest.slot}/{manifest.version}",
                "version": manifest.version,
                "bom-ref": hashlib.sha256(f"{manifest.slot}/{manifest.version}".encode()).hexdigest()[:16],
            }
        },
        "components": components + data,
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
