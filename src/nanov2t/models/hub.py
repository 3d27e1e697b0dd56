"""Models by local folder or by Hub name, and their upload. Free of torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.pretrained import BUNDLED

FILES = ["config.json", "tokenizer*.json", "spiece.model"]
FILES += ["special_tokens_map.json", "added_tokens.json"]
PARTS = ("hypothesizer/", "corrector/")  # subfolders with the networks of an inverter
DICTIONARY = ["dictionary/config.json", "dictionary/dictionary.safetensors"]
WEIGHTS, PICKLED = "model*.safetensors", "pytorch_model*.bin"
CARD = """# {name}

Turns embeddings of {embedder} back into text, with [nanov2t](https://github.com/nanov2t/nanov2t).

```python
from nanov2t import load_inverter

inverter = load_inverter("{name}")
vectors = inverter.embedder.encode(["a text"])  # or your own, float32 [n, {dim}]
print(inverter.invert(vectors)[0].text)
```

| | |
|---|---|
{facts}

What an inverter recovers is a lower bound of what its vectors give away. Do not use it on vectors
of texts that you have no right to read.
"""


def locate(name: str | Path) -> Path:
    """The folder of a model: bundled, local, or of the Hub. A repository `owner/name` on the Hub is
    downloaded, unless it was before or HF_HUB_OFFLINE is set; raises a UserError if it cannot be
    had. Any other name is returned as a path, which may not exist."""
    path = BUNDLED.get(str(name)) or Path(name)
    if path.is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(name)):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(str(name), allow_patterns=_patterns(WEIGHTS)))
        if not any(folder.rglob(WEIGHTS)):
            folder = Path(snapshot_download(str(name), allow_patterns=_patterns(PICKLED)))
        return folder
    except LocalEntryNotFoundError:  # offline, and not downloaded before
        reason = "the Hub cannot be reached"
    except RepositoryNotFoundError:
        reason = "the Hub shows you no such model"
    except (OSError, ValueError) as error:  # the Hub client's errors are of these two kinds
        reason = f"the Hub says: {first_line(error)}"
    raise UserError(f"{name}: no folder of that name, and {reason}")


def network_folder(folder: Path, part: str = "") -> Path:
    """The folder of a network in the one that a user named: a `part` of an inverter, a training
    run's best model, or the network itself."""
    for inner in filter(None, (part, "model")):
        if (folder / inner).is_dir():
            return folder / inner
    return folder


def push(folder: Path, name: str, info: EmbedderInfo, max_tokens: int, private: bool) -> str:
    """Upload the inverter in a folder to the repository OWNER/NAME, which is made if there is none,
    with a model card unless the folder has a README.md. Returns the address. `info` describes its
    embedder, `max_tokens` its longest text. Raises a UserError if the Hub refuses or cannot be
    reached."""
    from huggingface_hub import CommitOperationAdd, HfApi

    model = network_folder(folder)
    files = sorted({path for pattern in _patterns(WEIGHTS) for path in model.glob(pattern)})
    added = [CommitOperationAdd(str(path.relative_to(model)), path) for path in files]
    own = model / "README.md"
    text = own.read_bytes() if own.is_file() else card(folder, name, info, max_tokens).encode()
    added.append(CommitOperationAdd("README.md", text))
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(name, added, commit_message="An inverter, by nanov2t")
    except Exception as error:  # the client's errors are those of whatever HTTP library it uses
        raise UserError(f"{name}: not uploaded: {first_line(error)}") from None
    return f"{api.endpoint}/{name}"


def card(folder: Path, name: str, info: EmbedderInfo, max_tokens: int) -> str:
    """The model card of an inverter; a training run's has the figures of its best model."""
    from huggingface_hub import ModelCardData

    facts: dict[str, Any] = {
        "embedder": f"{info.name}, fingerprint {info.fingerprint or 'not known'}",
        "dimension": info.dim,
        "unit length": "yes" if info.normalized else "no",
        "prompt": f"`{info.prompt}`" if info.prompt else "none",
        "longest text": f"{max_tokens} tokens",
    }
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    records = [record for record in map(json.loads, lines) if "dev_loss" in record]
    if records:
        best = min(records, key=lambda record: float(record["dev_loss"]))
        figures = (f"{k.removeprefix('dev_')} {v:.4g}" for k, v in best.items() if k != "step")
        facts[f"dev figures at step {best['step']:,}"] = ", ".join(figures)
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    base = info.name.partition("?")[0]
    data = ModelCardData(
        library_name="nanov2t",
        tags=["embedding-inversion", "vec2text"],
        base_model=base if "/" in base and not Path(base).is_absolute() else None,
        pipeline_tag="text-generation",
    )
    text = CARD.format(name=name, embedder=info.name, dim=info.dim, facts=rows)
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _patterns(weights: str) -> list[str]:
    """The files of an inverter, without the checkpoints of its training."""
    return [part + file for part in ("", *PARTS) for file in (*FILES, weights)] + DICTIONARY
