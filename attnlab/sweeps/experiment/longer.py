"""The same experiment with more steps: is a verdict about the mechanisms, or about where training was stopped?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attnlab.errors import SettingError
from attnlab.interfaces import settings_of
from attnlab.registry import Own, entry
from attnlab.sweeps.experiment.read import Experiment, Layout, read
from attnlab.sweeps.experiment.source import Document

__all__ = ["STEPS", "longer"]

STEPS = ("steps", "iterations", "max_iter")  # settings that say how long a model learns


def longer(experiment: Experiment, times: int) -> Experiment | None:
    """An experiment with so many times the steps of each model; None where no model has steps to multiply.

    Its name is `NAME-longer-TIMES`. The steps in claims and in `tune` are multiplied too. Two kinds of model do not change:
    one without steps, which learns until validation no longer improves, and one that learns nothing (`steps: 0`).

    Raises
    ------
    SettingError
        When `times` is below 2.
    """
    if times < 2:
        raise SettingError(f"longer must be 2 or more; got {times}")
    path = experiment.path
    document = Document(json.loads(experiment.text)) if path is None else Document(path, text=experiment.text)
    value = dict(document.value)
    models = value.get("model", Layout.model_fields["model"].default)
    value["model"] = [_model(one, times) for one in models] if isinstance(models, list) else _model(models, times)
    columns = [f"model.{setting}" for setting in STEPS]
    if "tune" in value:
        value["tune"] = _selection(value["tune"], columns, times)
    value["claims"] = [_claim(claim, columns, times) for claim in value.get("claims", [])]
    value["name"] = f"{experiment.name}-longer-{times}"
    text = json.dumps(value, indent=1, ensure_ascii=False)
    found = read(Document(json.loads(text)) if path is None else Document(path, text=text))
    return None if (found.models, found.tune) == (experiment.models, experiment.tune) else found


def _model(given: Any, times: int) -> Any:
    """A model, a name or {name: {setting: value}}, with its steps multiplied, and written out if they were not."""
    mapping = {given: {}} if isinstance(given, str) else given
    found = {}
    for name, written in mapping.items():
        settings = dict(written or {})
        for setting, parameter in settings_of(entry("model", Own(name)).cls).items():
            if setting in STEPS:
                multiplied = _times(settings.get(setting, parameter.default), times)
                if multiplied is not None:
                    settings[setting] = multiplied
        found[name] = settings
    return found


def _claim(claim: Mapping[str, Any], columns: list[str], times: int) -> dict[str, Any]:
    changed = dict(claim)
    for key in ("where", "better", "than"):
        if key in changed:
            changed[key] = _selection(changed[key], columns, times)
    if "equal" in changed:
        changed["equal"] = [_selection(side, columns, times) for side in changed["equal"]]
    return changed


def _selection(given: Mapping[str, Any], columns: list[str], times: int) -> dict[str, Any]:
    return {key: _times(value, times) if key in columns else value for key, value in given.items()}


def _times(value: Any, times: int) -> Any:
    """A number of steps, or each of a grid of them."""
    if isinstance(value, list):
        return [_times(one, times) for one in value]
    if isinstance(value, dict):
        return {key: _times(one, times) for key, one in value.items()}
    return value * times if isinstance(value, int) and not isinstance(value, bool) else value
