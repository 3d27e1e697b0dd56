"""Recipes: which training a YAML file describes. Free of torch."""

from __future__ import annotations

from pathlib import Path

import dacite
import yaml

from nanov2t.core.errors import UserError
from nanov2t.train.config import TrainConfig
from nanov2t.train.network_config import EditRecipe, PrefixRecipe

Recipe = TrainConfig | PrefixRecipe | EditRecipe
KINDS: dict[str, type[Recipe]] = {
    "t5": TrainConfig,
    "prefix_lm": PrefixRecipe,
    "edit_network": EditRecipe,
}
"""Settings by the `network` that a recipe trains."""


def load_config(path: Path) -> Recipe:
    """Read a recipe: the YAML holds only what differs from the defaults.

    Raises:
        UserError: the file is missing or malformed, or holds an unknown key or a value of the wrong
            type.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        kind = values.get("network", "t5")
        if kind not in KINDS:
            raise UserError(f"{path}: network {kind!r} is none of {', '.join(KINDS)}")
        # YAML 1.1 reads 1e-3 as a string; casting floats lets recipes be written as people write
        # numbers.
        return dacite.from_dict(KINDS[kind], values, dacite.Config(cast=[float, Path], strict=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, dacite.DaciteError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None


def train(config: Recipe) -> Path:
    """Train, or resume, the run in ``config.out``; returns the folder of the finished network."""
    if isinstance(config, PrefixRecipe):
        from nanov2t.train.prefix import train_prefix

        return train_prefix(config)
    if isinstance(config, EditRecipe):
        from nanov2t.train.editing import train_edits

        return train_edits(config)
    from nanov2t.train.inversion import train as train_generator

    return train_generator(config)
