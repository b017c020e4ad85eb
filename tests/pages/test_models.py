"""The reliability engineer's day: bring a recording, label, make a data set, train on it, watch, compare, publish."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cloud_hub.accounts.permissions import Principal, command_line
from cloud_hub.delivery.publish import PublishReport
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.jobs.places import Places
from cloud_hub.jobs.runner import JobRunner
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import load_settings
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.writer import Received, Writer
from models.bundle.archive import EVALUATION, Bundle, pack_bundle, read_bundle
from tests.cloud_hub.mlops_kit import table
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub
from tests.simulators.bundles import make_manifest, make_members
from tests.simulators.hub import chunks
from tests.simulators.plant_data import NOW_S

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
# A training of the test's own: it waits for a file, so that there is a moment to look at it.
SCRIPT = """
import json, pathlib, sys, time
words = dict(w[2:].split("=", 1) for w in sys.argv[1:] if w.startswith("--") and "=" in w)
tell = open(words["progress"], "w", buffering=1)
tell.write(json.dumps({"share": 0.4, "what": "quantising to int8"}) + "\\n")
print("training on", words["data"], flush=True)
gate = pathlib.Path(GATE)
while not gate.exists():
    time.sleep(0.05)
made = gate.read_bytes()
if made == b"refuse":
    tell.write(json.dumps({"end": "refused", "text": "the model is refused: int8 loses 0.2 of AUC"}) + "\\n")
    sys.exit(4)
pathlib.Path(words["out"]).write_bytes(made)
pathlib.Path(words["report"]).write_text("<!doctype html><title>Report</title><style>p{color:red}</style><p>The report")
test = {"result": {"baseline_name": "RMS", "alarmed": 0, "faulty": 0, "false_alarms": 0, "rows": [
    {"name": "press.csv", "faulty": False, "windows": 30, "flagged_share": 0.0, "first_alarm_s": None,
     "baseline_flagged_share": 0.1}]}}
pathlib.Path(words["json"]).write_text(json.dumps({
    "auc": {"float": 0.99, "int8": 0.985, "baseline": 0.9}, "baseline": "RMS", "network_bytes": 3000, "test": test}))
tell.write(json.dumps({"end": "done"}) + "\\n")
"""


def bundle(version: str = "1.0", auc: float = 0.985) -> bytes:
    members = make_members()
    scores = {f"{kind}_{side}": [0.3 + s * i / 20 for i in range(20)]
              for kind in ("scores", "float", "baseline") for side, s in (("healthy", 1), ("faulty", 4))}  # fmt: skip
    evaluation = {
        "auc": {"float": 0.99, "int8": auc, "baseline": 0.9}, "baseline_name": "RMS", "faults": "synthetic",
        "false_alarms": 0, "windows_healthy": 20, "healthy_over_limit": 0.0, "faulty_over_limit": 0.9,
        "memory": {"network_kb": 30.0, "budget_kb": 4096.0},
        "leaks": [{"check": "rate", "finding": "one recording: nothing to compare", "serious": False}], **scores,
    }  # fmt: skip
    members[EVALUATION] = json.dumps(evaluation).encode()
    return pack_bundle(make_manifest(version=version), members)


class Bench:
    """A hub of the test's own with a runner, and a publisher that has no broker."""

    def __init__(self, hub: PageHub, url: str, home: Path) -> None:
        self.hub, self.url, self.home = hub, url, home
        self.gate = home / "gate"
        settings = load_settings(home)
        program = (sys.executable, "-c", SCRIPT.replace("GATE", repr(str(self.gate))))
        self.runner = JobRunner(hub.database, settings, lambda: hub.now_s, program=program)
        places = Places.of(settings)
        workshop = Workshop(places, self.runner.wake, self._publish)
        object.__setattr__(hub.app.state.context, "workshop", workshop)
        self.published: list[str] = []
        self.runner.start()

    def _publish(self, data: bytes, one: Bundle, by: Principal, now_s: float, _request: str | None) -> PublishReport:
        self.published.append(f"{by.name} {one.manifest.slot}/{one.manifest.version}")
        return PublishReport("target", one.sha256, one.length, 1, len(data), 0.1)

    def capture(self, name: str = "cap-1") -> None:
        parts = chunks(name, rate_hz=100.0)
        Writer(self.hub.database, lambda: NOW_S).store([Received(part) for part in parts])
        assemble_capture(self.hub.database, name, self.home / "captures", NOW_S)


@pytest.fixture
def bench(own_hub: Callable[..., tuple[PageHub, str]], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(*own_hub(plant=False), tmp_path)
    yield made
    made.runner.stop()


@SIZES
def test_from_a_file_to_a_published_model(bench: Bench, visit: Open, size: tuple[int, int], tmp_path: Path) -> None:
    recording = tmp_path / "Press 3.csv"
    recording.write_bytes(table())
    window = visit("/data/uploads", size, url=bench.url, role="engineer")
    page = window.page
    expect(page.get_by_text("Nobody has brought a file yet.")).to_be_visible()
    page.get_by_label("Recording").set_input_files(recording)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("status")).to_contain_text("Press_3.csv: 600 rows are here.")

    page.goto(f"{bench.url}/data/sets/new")
    page.get_by_label("Name").fill("press")
    page.get_by_label("Title").fill("Press 3, healthy")
    page.get_by_label("Use Press_3.csv as").select_option("healthy")
    page.get_by_role("button", name="Make the data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Press 3, healthy, version 1")
    expect(page.get_by_role("table", name="Files of this version")).to_contain_text("0.0 % to 80.0 %")
    page.get_by_role("button", name="Inspect").click()
    expect(page.get_by_text("417 windows of 64")).to_be_visible()

    page.get_by_role("link", name="Train a model").click()
    expect(page.get_by_label("Data set")).to_have_value("press")
    page.get_by_label("Title").fill("Press 3")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("The training is queued.")).to_be_visible()
    expect(page.get_by_text("quantising to int8")).to_be_visible()  # it came by itself
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.4")
    bench.gate.write_bytes(bundle())
    expect(page.get_by_text("succeeded")).to_be_visible()
    expect(page.get_by_role("table", name="Recordings that neither")).to_contain_text("press.csv")
    page.get_by_role("link", name="pump-vibration 1.0").click()

    expect(page.get_by_text("candidate").first).to_be_visible()
    expect(page.locator("#evaluation .grid > .half")).to_have_count(3)
    expect(page.get_by_role("link", name="press, version 1")).to_be_visible()
    page.locator("summary", has_text="Publish").click()
    page.get_by_label("Publish pump-vibration 1.0").check()
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status")).to_contain_text("Published: 1 chunks")
    assert bench.published == ["engineer@plant pump-vibration/1.0"]
    page.goto(page.get_by_role("link", name="Training report").evaluate("a => a.href"))
    expect(page.get_by_text("The report")).to_have_css("color", "rgb(255, 0, 0)")
    page.goto(f"{bench.url}/models")


@SIZES
def test_a_training_is_cancelled(bench: Bench, visit: Open, size: tuple[int, int], tmp_path: Path) -> None:
    _set_of(bench, tmp_path)
    page = visit("/models/training/new?data_set=press", size, url=bench.url, role="engineer").page
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("quantising to int8")).to_be_visible()
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Cancel the training").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    page.get_by_role("button", name="Train the same again").click()
    expect(page.get_by_text("The same training is queued once more.")).to_be_visible()
    bench.gate.write_bytes(b"refuse")
    expect(page.get_by_text("refused by a gate")).to_be_visible()
    expect(page.get_by_text("int8 loses 0.2 of AUC")).to_be_visible()
    expect(page.get_by_label("Log of the training")).to_contain_text("training on")


def _set_of(bench: Bench, tmp_path: Path) -> None:
    from cloud_hub.services import datasets
    from cloud_hub.services.datasets import Item, Recipe

    places = Places.of(load_settings(bench.home))
    places.uploads.mkdir(parents=True, exist_ok=True)
    partial = places.uploads / ".incoming"
    partial.write_bytes(table())
    me = command_line("test")
    one = datasets.keep_upload(bench.hub.database, me, places, "press.csv", partial, now_s=NOW_S)
    recipe = Recipe((Item("upload", "healthy", one.sha256),))
    datasets.make_version(bench.hub.database, me, places, "press", recipe, None, now_s=NOW_S)


@SIZES
def test_what_people_say_of_captures(bench: Bench, visit: Open, size: tuple[int, int]) -> None:
    bench.capture()
    page = visit("/data/captures", size, url=bench.url, role="engineer").page
    page.locator("summary", has_text="Label").click()
    page.get_by_label("It was").select_option("fault")
    page.get_by_label("Which fault").fill("outer-race")
    page.get_by_role("button", name="Say so").click()
    expect(page.get_by_text("Capture cap-1 is labelled.")).to_be_visible()
    expect(page.get_by_role("table")).to_contain_text("outer-race")
    page.goto(f"{bench.url}/data/labels")
    page.locator("summary", has_text="Label a span of time").click()
    form = page.get_by_role("form", name="Label a span of time")
    form.get_by_label("Machine").fill("P-101")
    form.get_by_label("Point").fill("de")
    form.get_by_label("From").fill("2025-06-01T10:00:00")
    form.get_by_label("To").fill("2025-06-01T11:00:00")
    form.get_by_label("It was").select_option("exclude")
    form.get_by_role("button", name="Say so").click()
    rows = page.get_by_role("table", name="Labels").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(page.locator("tbody time").first).to_have_attribute("datetime", "2025-06-01T10:00:00Z")
    page.locator("summary", has_text="Remove").first.click()
    page.get_by_role("button", name="Remove this label").first.click()
    expect(rows).to_have_count(2)


def test_a_form_that_is_not_right_keeps_what_was_typed(bench: Bench, visit: Open, tmp_path: Path) -> None:
    _set_of(bench, tmp_path)
    window = visit("/data/sets/new", url=bench.url, role="engineer")
    page = window.page
    window.allowed.append("/data/sets/new")
    page.get_by_label("Name").fill("press")
    page.get_by_label("Use press.csv as").select_option("healthy")
    page.get_by_role("button", name="Make the data set").click()
    expect(page.get_by_role("alert")).to_contain_text("data set press: there is one already, at version 1")
    expect(page.get_by_label("Name")).to_have_value("press")
    expect(page.get_by_label("Use press.csv as")).to_have_value("healthy")


@SIZES
def test_two_models_side_by_side(bench: Bench, visit: Open, size: tuple[int, int]) -> None:
    from cloud_hub.delivery.registry import BundleRecord

    registry = SqlRegistry(bench.hub.database)
    folder = bench.home / "bundles"
    folder.mkdir()
    for version, auc in (("1.0", 0.91), ("2.0", 0.985)):
        data = bundle(version, auc)
        one = read_bundle(data, version)
        (folder / f"{one.sha256}.mwb").write_bytes(data)
        registry.add_bundle(
            BundleRecord(
                one.sha256,
                "pump-vibration",
                version,
                "spectral",
                "t",
                one.length,
                NOW_S + float(version),
                one.manifest_json,
            )
        )
    page = visit("/models", size, url=bench.url, role="viewer").page
    expect(page.get_by_role("link", name="Train a model")).to_have_count(0)
    page.get_by_role("link", name="pump-vibration 2.0").click()
    page.get_by_role("button", name="Compare").click()
    figures = page.get_by_role("table", name="evaluation of both models")
    expect(figures).to_contain_text("auc.int8")
    expect(figures).to_contain_text("-0.075")
    expect(page.get_by_role("table", name="identity of both models")).to_contain_text("2.0")
    page.get_by_role("link", name="Everything").click()
    expect(page.get_by_role("table", name="budgets of both models")).to_be_visible()
