"""Models by local folder or by Hub name."""

from __future__ import annotations

import re
from pathlib import Path

from nanov2t.core.errors import UserError, first_line

FILES = (
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
)
PARTS = ("hypothesizer/", "corrector/")
"""Subfolders with the networks of an inverter."""
DICTIONARY = ["dictionary/config.json", "dictionary/dictionary.safetensors"]
"""Files of the dictionary of an inverter that reads its embedder's states."""
WEIGHTS, PICKLED = "model*.safetensors", "pytorch_model*.bin"


def locate(name: str | Path) -> Path:
    """The folder of a model: itself, or the Hub client's copy of the repository `owner/name`.

    The client downloads it if need be, unless HF_HUB_OFFLINE is set, and fetches only the config,
    the tokenizer and the weights. Any other name is returned as it is, whether or not such a folder
    exists.

    Raises:
        UserError: there is neither such a folder nor such a repository.
    """
    path = Path(name)
    if path.is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(name)):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    def fetch(*files: str) -> Path:
        # Other subfolders of a repository hold checkpoints of its training.
        patterns = [part + file for part in ("", *PARTS) for file in files] + DICTIONARY
        return Path(snapshot_download(str(name), allow_patterns=patterns))

    try:
        folder = fetch(*FILES, WEIGHTS)
        return folder if any(folder.rglob(WEIGHTS)) else fetch(*FILES, PICKLED)
    except LocalEntryNotFoundError:  # offline, and not downloaded before
        reason = "the Hub cannot be reached"
    except RepositoryNotFoundError:
        reason = "the Hub shows you no such model"
    except (OSError, ValueError) as error:  # the Hub client's errors are of these two kinds
        reason = f"the Hub says: {first_line(error)}"
    raise UserError(f"{name}: no folder of that name, and {reason}")


def network_folder(folder: Path, part: str = "") -> Path:
    """The network's own folder in a folder that a user named: an inverter (its `part`), a training
    run (its best model), or the network itself."""
    for inner in filter(None, (part, "model")):
        if (folder / inner).is_dir():
            return folder / inner
    return folder
