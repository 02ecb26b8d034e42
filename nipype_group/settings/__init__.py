"""Every choice of an analysis once: its name, option, unit, help, values, and what it changes.

The options of the command line, `AnalysisSettings` in Python, files of settings, the settings in
sidecars and the table of the documentation are made from the fields of these records.
"""

from importlib import import_module

# Loaded when asked for: another package may be on its way to bring a record of its own.
_PLACES = {
    "AnalysisSettings": "analysis",
    "PeerSettings": "analysis",
    "InferenceSettings": "inference",
    "MapsSettings": "model",
    "ModelSettings": "model",
    "ReportSettings": "report",
    "ReportedSettings": "report",
    "ShuffledSettings": "analysis",
    "read_settings": "files",
    "settings_schema": "files",
    "write_settings": "files",
}


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__():
    return sorted(_PLACES)


__all__ = sorted(_PLACES)
