"""The command that evaluates. Free of torch, so that help is instant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanov2t.cli.inputs import references_of
from nanov2t.cli.quiet import loading
from nanov2t.cli.searching import SearchArguments
from nanov2t.core.drafts import drafts_file, drafts_of
from nanov2t.core.errors import UserError
from nanov2t.core.files import check_writable
from nanov2t.core.passages import check_source, read_rows


@dataclass(kw_only=True)
class Evaluate(SearchArguments):
    """Figures of an inverter on texts: BLEU, token F1, exact match and cosine after every round.

    `torchrun -m nanov2t evaluate ...` and `accelerate launch` share the texts out; the figures are
    those of one process.
    """

    texts: Annotated[str, arg(metavar="FILE")]
    """Texts to embed and invert: a .txt (one a line), .jsonl or .parquet file, also .gz or .xz; or
    the name or folder of a data set, such as jxm/nq_corpus_dpr or BeIR/scifact."""
    split: Annotated[str, arg(metavar="SPLIT")] = "test"
    """Of a data set. One without dev and test splits has 1,000 rows held back for each."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """What holds the text, by default `text`; several, such as `title,text`, are joined, which is
    the default for BEIR."""
    limit: int | None = None
    """Only the first so many texts."""
    drafts: Annotated[Path | None, arg(metavar="FILE")] = None
    """Start from these drafts: JSON lines with `idx`, the text's row from 0, and `draft`; or the
    folder with SPLIT.hyps.jsonl."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder for metrics.jsonl, the figures of every round, and results.parquet, what was found for
    every text in every round."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        self.check(limit=1)
        if self.out:
            check_writable(self.out)
        check_source(self.texts)
        file = self.drafts and drafts_file(self.drafts, self.split)
        self.look_up()
        with loading(self.texts):
            rows, texts, drafts = self._texts(file)
        with loading(self.inverter):
            from rich.console import Console

            from nanov2t.cli.report import figures
            from nanov2t.evaluation.evaluate import summarize
            from nanov2t.evaluation.results import write_results
            from nanov2t.evaluation.shared import invert_shared, is_first, local_device
            from nanov2t.evaluation.words import guesses_words, word_figures
        inverter = self.load(local_device())
        references = references_of(inverter, texts)
        # Every process embeds them all: in batches of other texts their last digits could differ.
        vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        found = invert_shared(inverter, vectors, self.rounds, self.beam, drafts)
        if not is_first():
            return
        result = summarize(found, references)
        if guesses_words(inverter):
            result["words"] = word_figures(inverter, vectors, references)
        if self.out:
            write_results(self.out, result, rows, references, found)
        if self.json:
            print(json.dumps(result))
        else:
            Console().print(figures(result))
            if guess := result.get("words"):
                print(
                    f"{guess['count']} likeliest words: precision {guess['precision']:.1f}, "
                    f"recall {guess['recall']:.1f}"
                )

    def _texts(self, file: Path | None) -> tuple[list[int], list[str], list[str] | None]:
        """The rows that hold text, their texts, and the drafts of a file if there is one."""
        rows: list[int] = []
        texts: list[str] = []
        count = 0
        for count, text in enumerate(read_rows(self.texts, self.split, self.column), 1):
            if text and (self.limit is None or len(rows) < self.limit):
                rows.append(count - 1)
                texts.append(text)
            elif self.drafts is None and len(rows) == self.limit:
                break
        if not texts:
            raise UserError(f"{self.texts}: holds no text")
        return rows, texts, drafts_of(file, range(count), rows) if file else None
