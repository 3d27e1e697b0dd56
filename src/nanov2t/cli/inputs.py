"""Read and check what commands are given. Free of torch, so that mistakes are reported before
seconds of loading. What is wrong is a UserError."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nanov2t.core.errors import UserError, did_you_mean, first_line
from nanov2t.core.files import check_writable
from nanov2t.core.passages import check_source
from nanov2t.models.hub import locate
from nanov2t.pretrained import BUNDLED, RELEASES

if TYPE_CHECKING:
    from nanov2t.inverter import Inverter

WRITERS = ("hypothesizer", "model", "", "corrector")
"""Subfolders of an inverter that may hold a network; "" is the folder itself."""


class Facts(NamedTuple):
    """What the config files of an inverter say: the dimension of the vectors that it reads and the
    length of the longest text that it writes, if known, and whether it has a dictionary."""

    dim: int | None = None
    max_tokens: int | None = None
    looks_inside: bool = False


def check(command: Any, *folders: Path | None, **least: int) -> None:
    """Refuse options of a command that cannot be right: numbers below their least value, folders
    that cannot be written, and what `embedder`, `texts` and `public` name."""
    for name, low in least.items():
        given = getattr(command, name)
        for value in given if isinstance(given, tuple) else [given]:
            if value is not None and value < low:
                option = name.replace("_", "-")
                raise UserError(f"--{option} must be at least {low}, not {value}")
    if (spec := getattr(command, "embedder", None)) is not None:
        source = spec.partition("?")[0].partition("#")[0]
        if not source:
            raise UserError("the embedder: its name is empty")
        if ":" not in source and source.count("/") > 1 and not Path(source).is_dir():
            raise UserError(f"embedder {source}: no such folder")
    for name in ("texts", "public"):
        if isinstance(source := getattr(command, name, None), str):
            check_source(source)
    for folder in filter(None, folders):
        check_writable(folder)


def check_new(folder: Path) -> None:
    """Refuse a folder that cannot be made or is not empty."""
    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files already: name another folder, or delete it")


def check_inverter(name: str) -> Facts:
    """What is known of an inverter without loading it. There must be one of that name."""
    if name in RELEASES:
        return Facts()
    folder = BUNDLED.get(name) or locate(name)
    if not name or not folder.is_dir():
        known = [*BUNDLED, *RELEASES]
        hint = f"neither a folder nor one of {', '.join(known)}{did_you_mean(name, known)}"
        raise UserError(f"inverter {name or repr(name)}: {hint}")
    found: dict[str, dict[str, Any]] = {}
    for part in ("dictionary", *WRITERS):
        path = folder / part / "config.json"
        try:
            if path.is_file():
                found[part] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            reason = first_line(error)
            raise UserError(f"{path.parent}: damaged or not a generator: {reason}") from None
    if not found:
        raise UserError(f"{name}: not an inverter: config.json is missing")

    writers = [found[part] for part in WRITERS if part in found]
    dims = [x["dim"] for x in found.values() if isinstance(x.get("dim"), int)] or [None]
    lengths = [x["max_tokens"] for x in writers if isinstance(x.get("max_tokens"), int)] or [None]
    return Facts(dims[0], lengths[0], "dictionary" in found)


def say(line: str) -> None:
    """Print a line on stderr."""
    print(f"nanov2t: {line}", file=sys.stderr)


def quiet() -> None:
    """Silence the libraries' progress bars, and warnings that the command reports itself."""
    # datasets is slow to import. If it is imported later, it reads these variables.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Show on a terminal what is loading until the block ends, and silence the libraries."""
    from rich.markup import escape

    from nanov2t.core.progress import terminal

    first = os.environ.get("RANK", "0") == "0"
    with terminal().status(f"Loading {escape(what)} ...") if first else nullcontext():
        quiet()
        yield


def read_texts(given: tuple[str, ...]) -> list[str]:
    """The texts of a command line. `-` stands for the lines of standard input."""
    texts: list[str] = []
    for text in given:
        try:
            texts += [line.rstrip("\n") for line in sys.stdin or ()] if text == "-" else [text]
        except UnicodeDecodeError:
            raise UserError("standard input is not UTF-8") from None
    if given and not texts:
        raise UserError("standard input holds no text")
    for i, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"text {i} is empty")
        if text != text.encode(errors="ignore").decode():
            raise UserError(f"text {i} is not UTF-8")
    return texts


def references_of(inverter: Inverter, texts: list[str]) -> list[str]:
    """Cut each text to what the inverter can write, and report on stderr what is lost."""
    from nanov2t.embedders.text import reference

    tokenizer, embedder, limit = inverter.tokenizer, inverter.embedder, inverter.max_tokens
    references = []
    for i, text in enumerate(texts, 1):
        length = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if length > limit:
            say(f"text {i} has {length} tokens; only the first {limit} are inverted")
        cut = reference(text, tokenizer, embedder, limit)
        if not cut:
            raise UserError(f"text {i} holds nothing that the inverter's tokenizer knows")
        if unseen := embedder.unseen(cut):
            same = f"of text {i}; texts that differ there have the same vector"
            say(f"{embedder.name} cannot read {unseen} of the tokens {same}")
        references.append(cut)
    return references
