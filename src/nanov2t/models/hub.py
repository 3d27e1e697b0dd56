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
"""The subfolders of a pair."""
DICTIONARY = ["dictionary/config.json", "dictionary/dictionary.safetensors"]
"""Of an inverter that looks inside its embedder."""
WEIGHTS, PICKLED = "model*.safetensors", "pytorch_model*.bin"


def locate(name: str | Path) -> Path:
    """The folder of a model: itself, or the Hub client's copy of the repository `owner/name`,
    downloaded if need be (its settings, such as HF_HUB_OFFLINE, hold). Only the config, the
    tokenizer and the weights are fetched. A name that is no repository's is returned as it is, also
    where there is no such folder.

    Raises:
        UserError: there is neither such a folder nor such a repository.
    """
    path = Path(name)
    if path.is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(name)):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    def fetch(*files: str) -> Path:
        # What else a repository has in subfolders is checkpoints of the training.
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
