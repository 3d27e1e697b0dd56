"""Upload an inverter to a repository on the Hub, with a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nanov2t.core.errors import UserError, first_line
from nanov2t.embedders.base import EmbedderInfo
from nanov2t.models.hub import DICTIONARY, FILES, PARTS, WEIGHTS, network_folder

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


def push(folder: Path, name: str, info: EmbedderInfo, max_tokens: int, private: bool) -> str:
    """Upload an inverter, and a README.md unless it has its own; returns its address.

    Args:
        folder: a training run's, a generator's, or an inverter's.
        name: the repository, OWNER/NAME; created if it does not exist.
        info: the embedder whose vectors it reads.
        max_tokens: the longest text that it writes.
        private: whether a new repository is private.

    Raises:
        UserError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    model = network_folder(folder)
    patterns = [part + file for part in ("", *PARTS) for file in (*FILES, WEIGHTS)] + DICTIONARY
    files = sorted({path for pattern in patterns for path in model.glob(pattern)})
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
    """The model card of an inverter; of a training run, with the figures of its best model."""
    from huggingface_hub import ModelCardData

    facts: dict[str, Any] = {
        "embedder": f"{info.name}, fingerprint {info.fingerprint or 'not known'}",
        "dimension": info.dim,
        "unit length": "yes" if info.normalized else "no",
        "prompt": f"`{info.prompt}`" if info.prompt else "none",
        "longest text": f"{max_tokens} tokens",
    }
    best = _best(folder)
    if best:
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


def _best(folder: Path) -> dict[str, float]:
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    taken = [record for record in records if "dev_loss" in record]
    return min(taken, key=lambda record: float(record["dev_loss"]), default={})
