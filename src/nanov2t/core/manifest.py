"""Comparing the settings of the run in a folder with those of the run about to start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError


def check_same_run(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], option: str
) -> None:
    """Refuse to continue a run that was started with other settings.

    Settings that `before` lacks are taken for None; those that only it has are not compared. A file
    or model is `{"name": ..., "fingerprint": ...}` and may move: only its fingerprint is compared.

    Args:
        before: settings of the run in the folder, as those of the run about to start are in `now`.
        option: the one that chooses the folder, such as `--out`.

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
    """Nested settings by their full names, such as `optim.lr`."""
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
