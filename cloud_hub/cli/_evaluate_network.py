"""`cloud-hub evaluate network`: a bare .tflite, or the Keras network that it came from, on labelled clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption

if TYPE_CHECKING:
    from models.signal.score import Network


def network(
    model: Annotated[
        Path, typer.Option("--model", help="A .tflite (float32, int8, int16x8), or a Keras .h5 or .keras.")
    ],
    clips: Annotated[Path, typer.Option("--clips", help="npz: X (clips, frames, mels), y 0 healthy, 1 anomalous.")],
    json_file: JsonOption = None,
) -> None:
    """ROC AUC over clips; a clip's score is the mean over its windows of the mean squared reconstruction error."""
    import msgspec

    from cloud_hub.data.clips import load_clips
    from cloud_hub.evaluate.network import evaluate_network

    run, ends, kind = _open(model)
    result = evaluate_network(run, ends, kind, model.name, load_clips(clips, labels=True))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    typer.echo(
        f"{result.model} ({result.kind}): AUC {result.auc:.4f}, pAUC {result.pauc:.4f} (false alarms up to 10 %), "
        f"{result.clips} clips, {result.anomalous} of them anomalous"
    )


def _open(model: Path) -> tuple[Network, tuple[int, int], str]:
    from cloud_hub.errors import DataError

    if model.suffix.lower() in {".h5", ".hdf5", ".keras"}:
        from cloud_hub.training.outside import load_keras

        outside = load_keras(model)
        return outside.network(), (outside.inputs, outside.outputs), "float32"
    from cloud_hub.runtime import TfliteModel

    if not model.is_file():
        raise DataError(f"{model}: no such file")
    tflite = TfliteModel(model.read_bytes(), str(model))
    return tflite.network(), (tflite.inputs, tflite.outputs), tflite.kind
