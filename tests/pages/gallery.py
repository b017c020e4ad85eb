"""A page with every part and every chart on it, for tests: what no plant happens to show is looked at here."""

from __future__ import annotations

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub import charts
from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.guard import needs, principal_of
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import TEMPLATES, render
from models.signal.envelope import envelope_spectrum
from models.signal.spectrum import amplitude_spectrum
from tests.simulators import plant_data

_TEMPLATE = """
{% extends "base.html.j2" %}
{% import "ui.html.j2" as ui with context %}
{% block title %}Gallery{% endblock %}
{% block crumbs %}{{ ui.crumbs([("Overview", "/"), ("Machines", "/machines")]) }}{% endblock %}
{% block actions %}<a class="button" href="/">Plain</a>{% call ui.ask("Revoke", kind="danger") %}{% call ui.form("/gallery") %}<p>It cannot be undone.</p>{{ ui.submit("Revoke it", kind="danger") }}{% endcall %}{% endcall %}{% endblock %}
{% block main %}
{% call ui.panel("Badges", id="badges", hint="Told by shape and word as well as by colour.") %}
<p>{% for kind in ("ok", "warn", "alarm", "warming_up", "off", "pause", "run", "info") %}{{ ui.badge(kind, kind) }} {{ ui.shape(kind) }} {% endfor %}</p>
<p>{% for word in ("unacknowledged", "acknowledged", "returned_unacknowledged", "normal", "shelved", "out_of_service") %}{{ ui.alarm_state(word) }} {% endfor %}{{ ui.online(true) }} {{ ui.online(false) }}</p>
<p>{{ ui.score(0.3) }} {{ ui.score(0.9) }} {{ ui.score(7.5) }} {{ ui.score(none) }} {{ ui.progress(3, 8, "Training") }} {{ spark }}</p>
{% endcall %}
<div class="grid">
{% call ui.panel("Figures", id="figures", class="half") %}
<dl class="stats">{{ ui.stat("Velocity", "5.4", "mm/s", "zone C, ISO 20816-3") }}{{ ui.stat("Open alarms", 3) }}</dl>
<dl class="facts"><div><dt>Agent</dt><dd>0.4.2</dd></div><div><dt>Seen</dt><dd>{{ ui.time(now_s) }}</dd></div></dl>
{% endcall %}
{% call ui.panel("States", id="states", class="half") %}
{{ ui.empty("Nothing is here yet.", "It comes with the first message.") }}{{ ui.loading("Reading the window") }}{{ ui.problem("Not stored.", "disk full") }}
{% for kind in ("ok", "warn", "alarm", "info") %}{{ ui.note("A note of the kind " ~ kind, kind) }}{% endfor %}
{% endcall %}
</div>
{% call ui.panel("Form", id="form") %}
{% call ui.filters("/gallery") %}{{ ui.field("machine", "Machine", query.get("machine", "")) }}{{ ui.select("state", "State", [("", "any"), ("open", "open")]) }}{% endcall %}
{% call ui.form("/gallery", class="form") %}
{{ ui.field("name", "Name", "P-101", hint="As on its plate.", required=true) }}
{{ ui.field("days", "Keep", 30, type="number", unit="days", error="expected 1 to 365, got 999", min=1) }}
{{ ui.area("comment", "Comment", rows=2) }}
{{ ui.select("role", "Role", [("viewer", "Viewer"), ("admin", "Administrator")], "admin") }}
{{ ui.checkbox("sure", "I am sure", hint="It takes a while.") }}
{{ ui.field("file", "Recording", type="file") }}
<div class="actions">{{ ui.submit("Save") }}{{ ui.submit("Only look", kind="plain") }}</div>
{% endcall %}
{% endcall %}
{% for chart in figures %}{% call ui.panel("Chart " ~ loop.index, id="chart-panel-" ~ loop.index) %}{{ chart }}{% endcall %}{% endfor %}
{{ ui.pager("abc") }}
{% endblock %}
"""


_SEEN = [Depends(needs(Permission.FLEET_READ))]


def add_gallery(app: FastAPI) -> None:
    """Put it at /gallery; its form says what came."""
    TEMPLATES.from_string(_TEMPLATE)  # a mistake in it is an error here

    @app.get("/gallery", response_class=HTMLResponse, include_in_schema=False, dependencies=_SEEN)
    def gallery(request: Request) -> HTMLResponse:
        return render(request, TEMPLATES.from_string(_TEMPLATE), figures=figures(), spark=spark())

    @app.post("/gallery", include_in_schema=False, dependencies=_SEEN)
    async def save(request: Request) -> RedirectResponse:
        form = await request.form()
        caller = principal_of(request)
        return redirect(request, "/gallery", f"{caller.name if caller else 'Nobody'} saved {form.get('name', 'it')}.")


def spark() -> charts.Svg:
    return charts.sparkline(0.5 + 0.4 * np.sin(np.arange(200) / 9), "score of the last day", limit=1.0)


def figures() -> list[charts.Svg]:
    """Each kind of chart, of realistic data."""
    rng = np.random.default_rng(3)
    now_s = plant_data.NOW_S
    t = now_s - np.arange(1008)[::-1] * 600.0
    point = next(p for p in plant_data.POINTS if p.trend == "rising")
    mean = plant_data.scores(point, len(t), rng)
    mean[400:440] = np.nan
    window = plant_data.bearing_window(2)
    f, a = amplitude_spectrum(window[:, 0], plant_data.RATE_HZ)
    fe, ae = envelope_spectrum(window[:, 0], plant_data.RATE_HZ, (2500.0, 3700.0))
    lines = [plant_data.OUTER * plant_data.SHAFT_HZ * k for k in (1, 2, 3, 4)]
    inner = [5.4152 * plant_data.SHAFT_HZ * k for k in (1, 2)]
    faults = [
        charts.FaultLines("BPFO", plant_data.OUTER, lines),
        charts.FaultLines("BPFI", 5.4152, inner, found=False),
    ]
    healthy, faulty = rng.lognormal(-0.9, 0.25, 4000), rng.lognormal(1.5, 0.8, 900)
    cut = np.sort(np.concatenate([healthy, faulty]))[::-1]
    false, hits = ((v[:, None] >= cut).mean(0) for v in (healthy, faulty))
    return [
        charts.trend_chart(
            "trend", "Score of P-103 / de", t, mean, high=mean + 0.1 * rng.random(len(t)), limit=1.0, label="Score (1 is the limit)",
            marks=[charts.Mark(now_s - 4 * 86_400, "bundle 2", "bundle 2 installed")],
        ),
        charts.spectrum_chart("spectrum", "Spectrum of the evidence, axis x", f, np.sqrt(a), label="RMS of each line (m/s²)", faults=faults),
        charts.spectrum_chart(
            "envelope", "Envelope spectrum of the evidence, axis x", fe, ae, label="Squared envelope (share of its mean)",
            faults=faults, range_hz=(0, 600),
        ),
        charts.waveform_chart("window", "Evidence window", window, plant_data.RATE_HZ, axes=["x", "y", "z"], label="Acceleration (m/s²)"),
        charts.histogram_pair(
            "pair", "Scores in shadow", np.linspace(0, 2, 41), np.histogram(healthy, np.linspace(0, 2, 41))[0],
            np.histogram(healthy * 1.15, np.linspace(0, 2, 41))[0], names=("champion 2", "candidate 3"), limit=1.0,
        ),
        charts.score_split("split", "Scores on test data", healthy, faulty),
        charts.roc_chart("roc", "Found over false alarms", [("int8", false, hits, 0.9993), ("float", false**0.9, hits, 0.9994)]),
        charts.curve_chart(
            "loss", "Training", [charts.Curve("training", np.arange(40), 2 * np.exp(-np.arange(40) / 9)),
                                 charts.Curve("validation", np.arange(40), 0.1 + 2 * np.exp(-np.arange(40) / 10))],
            x_label="Epoch", y_label="Loss (nats)",
        ),
    ]  # fmt: skip
