"""The guide to families is true: its example is taken out of the page, found, held to all checks, trained, replayed."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import models.families
from models.families import Family, families, family_named
from tests.models import test_families

GUIDE = Path(models.families.__file__).parent / "README.md"
RATE_HZ = 2000.0


def example() -> tuple[str, str]:
    """Name of the file that the guide writes, and the text."""
    text = GUIDE.read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    name = re.search(r"the whole file, `models/families/(\w+)\.py`", text)
    assert name is not None
    return name[1], code


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """The example as if its file lay in the folder of families."""
    name, code = example()
    (tmp_path / f"{name}.py").write_text(code, "utf-8")
    monkeypatch.setattr(models.families, "__path__", [*models.families.__path__, str(tmp_path)])
    yield family_named(name)
    monkeypatch.delattr(models.families, name)
    monkeypatch.delitem(__import__("sys").modules, f"models.families.{name}")


def current(seconds: float, seed: int) -> np.ndarray:
    """A healthy motor's current: mains of slowly wandering load and frequency, its odd harmonics, noise. (n,), A."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    load = 1 + 0.05 * np.sin(2 * np.pi * t / 37.0) + 0.02 * np.sin(2 * np.pi * t / 11.0)
    phase = 2 * np.pi * np.cumsum(50 + 0.02 * np.sin(2 * np.pi * t / 53.0)) / RATE_HZ
    lines = np.sin(phase) + 0.03 * np.sin(5 * phase + 1) + 0.02 * np.sin(7 * phase)
    return 12.0 * load * lines + rng.normal(0, 0.05, n)


def test_the_example_is_short_and_the_guide_names_every_field() -> None:
    _, code = example()
    assert len(code.splitlines()) < 100
    text = GUIDE.read_text("utf-8")
    for name in Family.__slots__:
        assert f"`{name}" in text, f"the guide does not tell what {name} is for"


def test_files_and_tests_that_the_guide_names_exist() -> None:
    root = GUIDE.parents[2]
    named = re.findall(r"`((?:models|tests|cloud_hub)/[\w/]+\.(?:py|md))`", GUIDE.read_text("utf-8"))
    assert len(named) >= 5
    for name in named:
        assert (root / name).exists() or name.endswith(f"{example()[0]}.py"), name


def test_the_example_is_found_and_passes_what_every_family_must_pass(family: Family) -> None:
    assert families()[family.name] is family
    test_families.test_defaults_fit_together(family)
    window, hop = family.window_for(RATE_HZ)
    assert window / RATE_HZ == pytest.approx(4.096)
    assert hop == window // 4


@pytest.mark.slow
def test_the_example_trains_and_its_bundle_replays_and_sees_a_broken_bar(family: Family, tmp_path: Path) -> None:
    from cloud_hub.inspecting.propose import Given
    from cloud_hub.inspecting.settle import settle
    from cloud_hub.runtime import Int8Model
    from cloud_hub.training.train import Order, train
    from models.bundle.archive import read_bundle
    from models.bundle.replay import replay_golden
    from models.signal.monitor import Monitor
    from models.signal.windows import cut_windows

    np.savez(tmp_path / "current.npz", current_A=current(900, 0), fs_hz=RATE_HZ)
    settled = settle([str(tmp_path / "current.npz")], [], Given(family=family.name))
    assert (settled.proposal.quantity, settled.proposal.units, settled.proposal.slot) == ("current", "A", family.name)
    order = Order(
        family=family, slot=settled.proposal.slot, version="1", title=settled.title,
        quantity=settled.proposal.quantity, seed=1, created_s=0, seeds=1,
    )  # fmt: skip
    trained = train(order, settled.healthy, [], lambda *_: None)  # every gate passes: the network beats the relay's RMS
    assert trained.gates == []
    bundle = read_bundle(trained.data, "guide")
    assert bundle.manifest.family == family.name
    network = Int8Model(bundle.model).network()
    assert replay_golden(bundle, network).max_difference < 1e-6

    source = bundle.manifest.input
    x = current(700, 7)
    t = np.arange(len(x)) / RATE_HZ
    bar = 12.0 * 0.03 * (np.sin(2 * np.pi * 47 * t) + np.sin(2 * np.pi * 53 * t))  # 3 % lines at 50 -+ 2 s f, s = 3 %
    x += bar * (t > 500)
    windows = np.ascontiguousarray(cut_windows(x[:, None].astype(np.float32), source.window, source.hop))
    results = Monitor(bundle.manifest, network, ["M-current"]).process(windows, [0] * len(windows))
    raised = [i for i, result in enumerate(results) if result.change == "raised"]
    assert raised, "the broken bar was not seen"
    ends_s = (raised[0] * source.hop + source.window) / RATE_HZ
    assert 500 < ends_s < 530
