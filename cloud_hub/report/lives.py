"""The report of a training on whole lives."""

from __future__ import annotations

import datetime as dt

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloud_hub.report import plots
from cloud_hub.training.remaining_life import MAX_RMSE_LOSS, TrainedLife


def render_lives(trained: TrainedLife) -> str:
    """HTML that needs nothing from elsewhere."""
    environment = Environment(loader=PackageLoader("cloud_hub.report", "."), autoescape=True, undefined=StrictUndefined)
    manifest = trained.bundle.manifest
    return environment.get_template("lives.html.j2").render(
        manifest=manifest,
        ev=trained.evaluation,
        gates=trained.gates,
        max_loss=MAX_RMSE_LOSS,
        created=dt.datetime.fromtimestamp(manifest.provenance.created_s, dt.UTC).strftime("%Y-%m-%d %H:%M"),
        bundle_kb=round(len(trained.data) / 1024),
        sha256=trained.bundle.sha256,
        window_us=trained.replay.window_us,
        scatter=plots.cycles_left(trained.evaluation),
    )
