"""The evaluate command."""

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
    """Measure how well an inverter recovers texts: BLEU, token F1, exact match and cosine after
    every round.

    `torchrun -m nanov2t evaluate ...` or `accelerate launch` splits the texts between processes and
    prints the same figures as one process.
    """

    texts: Annotated[str, arg(metavar="FILE")]
    """Texts to embed and invert: a .txt file (one text a line), .jsonl or .parquet, also .gz or
    .xz; or the name or folder of a data set, such as jxm/nq_corpus_dpr or BeIR/scifact."""
    split: Annotated[str, arg(metavar="SPLIT")] = "test"
    """Split of a data set. If it has no dev and test splits, 1,000 rows are held back for each."""
    column: Annotated[str, arg(metavar="COLUMN")] = ""
    """Column of the text; default: text. Several columns, such as title,text, are joined; this is
    the default for BEIR."""
    limit: int | None = None
    """Read only the first N texts."""
    drafts: Annotated[Path | None, arg(metavar="FILE")] = None
    """Start from these drafts: JSON lines with `idx`, the text's row from 0, and `draft`; or a
    folder that holds SPLIT.hyps.jsonl."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write metrics.jsonl (the figures of every round) and results.parquet (the texts found in
    every round) to this folder."""
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
            from nanov2t.evaluation.evaluate import summarize, write_results
            from nanov2t.evaluation.shared import invert_shared, is_first, local_device
        inverter = self.load(local_device())
        references = references_of(inverter, texts)
        # Every process embeds all texts: other batches could change the last digits.
        vectors = inverter.embedder.encode(references)
        inverter.check(vectors)
        found = invert_shared(inverter, vectors, self.options, drafts)
        if not is_first():
            return
        result = summarize(found, references)
        if self.out:
            write_results(self.out, result, rows, references, found)
        if self.json:
            print(json.dumps(result))
        else:
            Console().print(figures(result))

    def _texts(self, file: Path | None) -> tuple[list[int], list[str], list[str] | None]:
        """The numbers of the rows that hold text, their texts, and their drafts from the file."""
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
