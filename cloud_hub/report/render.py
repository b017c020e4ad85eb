"""Rendering the training report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from cloud_hub.report import plots
from cloud_hub.training.train import MAX_AUC_LOSS, Trained


def render_report(trained: Trained) -> str:
    """The report of one training, HTML that needs nothing from elsewhere."""
    environment = Environment(loader=PackageLoader("cloud_hub.report", "."), autoescape=True, undefined=StrictUndefined)
    evaluation, manifest = trained.evaluation, trained.bundle.manifest
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        ev=evaluation,
        gates=trained.gates,
        max_auc_loss=MAX_AUC_LOSS,
        created=dt.datetime.fromtimestamp(manifest.provenance.created_s, dt.UTC).strftime("%Y-%m-%d %H:%M"),
        bundle_kb=round(len(trained.data) / 1024),
        sha256=trained.bundle.sha256,
        window_us=trained.replay.window_us,
        names=trained.prepared.names,
        over=_share_over_limit,
        losses=plots.loss_curve(trained.losses) if trained.losses else None,
        int8_histogram=plots.score_histogram(evaluation.scores_healthy, evaluation.scores_faulty, "the network"),
        baseline_histogram=plots.score_histogram(
            evaluation.baseline_healthy, evaluation.baseline_faulty, evaluation.baseline_name
        ),
        scatter=plots.float_against_int8(evaluation),
    )


def _share_over_limit(scores: Sequence[float]) -> str:
    return f"{np.mean(np.asarray(scores) > 1):.1%}"
