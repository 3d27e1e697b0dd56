"""Recipes: YAML files that describe a training. Free of torch."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import dacite
import yaml

from nanov2t.core.errors import UserError, did_you_mean, one_line
from nanov2t.core.files import check_writable
from nanov2t.core.parts import flat
from nanov2t.core.passages import FORMATS, check_source
from nanov2t.train.config import EditRecipe, PrefixRecipe, T5Recipe, settings_of

Recipe = T5Recipe | PrefixRecipe | EditRecipe
KINDS = {"t5": T5Recipe, "prefix_lm": PrefixRecipe, "edit_network": EditRecipe}  # by `network`
NAMES = ("embedder", "dictionary", "init", "t5", "train", "dev", "hypothesizer", "files")
"""Settings that hold a path or a name."""
EXPECTED: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text",
    Path: "a path", Path | None: "a path", list[int]: "a list of whole numbers",
}  # fmt: skip


def load_config(path: Path) -> Recipe:
    """Read a recipe, whose paths are relative to its own folder. A UserError names an unknown
    setting or a wrong value."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(values, dict):
            raise UserError("holds no settings; write them as name: value, one a line")
        kind = str(values.get("network", "t5"))
        if kind not in KINDS:
            near = did_you_mean(kind, KINDS)
            raise UserError(f"network {kind!r} is none of {', '.join(KINDS)}{near}")
        recipe, folder = KINDS[kind], path.parent.resolve()
        hooks = {float: _number, Path: lambda path: _beside(folder, path)}
        settings = _located(recipe, values, folder)
        made: Recipe = dacite.from_dict(recipe, settings, dacite.Config(type_hooks=hooks))
        return made
    except OSError as error:
        raise UserError(f"{path}: {str(error.strerror).lower()}") from None
    except dacite.WrongTypeError as error:
        choices = [x for x in get_args(error.field_type) if isinstance(x, str)]
        expected = EXPECTED.get(error.field_type, "a group of settings")
        if choices:
            expected = f"one of {', '.join(filter(None, choices))}"
        said = f"{error.field_path} must be {expected}, not {error.value!r}"
        raise UserError(f"{path}: {said}{did_you_mean(str(error.value), choices)}") from None
    except (UserError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {one_line(error)}") from None


def train(config: Recipe) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the best network."""
    check_recipe(config)
    if isinstance(config, T5Recipe):
        from nanov2t.t5.stages import train_t5

        return train_t5(config)
    from nanov2t.train.editing import EditTask
    from nanov2t.train.loop import start
    from nanov2t.train.network import build_network, load_studied
    from nanov2t.train.prefix import PrefixTask

    accelerator = start(config)
    studied = load_studied(config, accelerator.device)
    network = build_network(config.network, config, studied)
    if isinstance(config, PrefixRecipe):
        return PrefixTask(config, studied, accelerator).train(network)
    return EditTask(config, studied, accelerator).train(network)


def _located(
    kind: type, values: Mapping[Any, Any], folder: Path, prefix: str = ""
) -> dict[str, Any]:
    types, located = get_type_hints(kind), {}
    for key, value in values.items():
        if key not in types:
            raise UserError(f"unknown setting {prefix}{key}{did_you_mean(str(key), types)}")
        if is_dataclass(types[key]) and isinstance(value, Mapping):
            value = _located(types[key], value, folder, f"{prefix}{key}.")
        elif key in NAMES and isinstance(value, str):
            name, mark, query = value.partition("?")
            if name and (_is_path(name) or (folder / name).exists()):
                value = f"{_beside(folder, name)}{mark}{query}"
        located[key] = value
    return located


def _is_path(name: str) -> bool:
    path = Path(name)
    rooted = path.is_absolute() or name.startswith((".", "~"))
    return rooted or not FORMATS.keys().isdisjoint(path.suffixes)


def _beside(folder: Path, path: Any) -> Any:
    if not isinstance(path, str):
        return path
    return Path(os.path.normpath(folder / Path(path).expanduser()))


def _number(value: Any) -> Any:
    """YAML takes 1e-3 for text."""
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def check_recipe(config: Recipe) -> None:
    """Refuse missing files and a run folder that cannot be written, before anything is loaded."""
    if not config.data.train:
        raise UserError("data.train: name the training text")
    for setting, value in flat(settings_of(config)).items():
        if setting.rpartition(".")[2] not in NAMES:
            continue
        name = re.split("[?#]", value)[0] if setting == "embedder" else value
        if _is_path(name) and not Path(name).exists():
            raise UserError(f"{setting} {value}: no such file or folder")
    for source in filter(None, (config.data.train, config.data.dev)):
        check_source(source)
    check_writable(config.out)
