"""A hub without TensorFlow: it says so where training is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.cli import main
from cloud_hub.errors import SettingsError
from cloud_hub.training.fit import import_tensorflow


def test_without_tensorflow_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(SettingsError, match="installed with the extra hub-light and trains nothing"):
        import_tensorflow()


def test_the_command_line_says_so_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    data = tmp_path / "healthy"
    data.mkdir()
    np.savez(data / "a.npz", x=np.random.default_rng(1).normal(size=100_000).astype(np.float32))
    words = ["cloud-hub", "train", "--data", str(data), "--rate", "12000", "--out", str(tmp_path / "x.mwb")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "there is no TensorFlow here" in capfd.readouterr().err
    assert not (tmp_path / "x.mwb").exists()
