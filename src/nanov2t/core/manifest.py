"""What a folder holds a run of, against what is about to be run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError


def check_same_run(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], option: str
) -> None:
    """Refuse to go on with a run that was begun with other settings.

    Nested settings are compared one by one, under full names such as `optim.lr`. A file or a model
    is given as `{"name": ..., "fingerprint": ...}`: it may have been moved, so what counts is its
    fingerprint.

    Args:
        folder: of the run.
        before: the settings of the run in the folder. What only they hold does not count.
        now: the settings of the run that is to start.
        option: what chooses another folder, such as `--out`.

    Raises:
        UserError: the runs differ; it names the first setting that does, and both values.
    """
    settings_before = flat(before)
    for name, value in flat(now).items():
        other = settings_before.get(name)
        if _identity(other) != _identity(value):
            raise UserError(
                f"{folder} holds a run with another {name} ({_show(other)}, not {_show(value)}): "
                f"choose another {option}, or delete it"
            )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and "fingerprint" not in value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _identity(value: Any) -> Any:
    return value["fingerprint"] if isinstance(value, Mapping) else value


def _show(value: Any) -> str:
    return f"{value['name']} {value['fingerprint']}" if isinstance(value, Mapping) else str(value)
