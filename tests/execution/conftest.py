"""Fakes of batch systems."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "fake_scheduler", Path(__file__).with_name("fake_scheduler.py")
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return stand-ins for the commands of batch systems, first on the path."""
    return _module.FakeScheduler(tmp_path / "fake scheduler", monkeypatch)
