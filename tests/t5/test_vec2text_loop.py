"""vec2text's own loop, recorded: what its corrector was fed, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import FIXTURES

from nanov2t import targets
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.inverter import Inverter
from nanov2t.search.options import SearchOptions
from nanov2t.t5 import inference
from nanov2t.t5.checkpoints import load_tokenizer
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import Pair, Writer

LOOP = FIXTURES / "vec2text_loop"
TEXTS = json.loads((LOOP / "texts.json").read_text())
IDS = load_file(LOOP / "ids.safetensors")
BEAMS = {"greedy": 1, "beam4": 4}


class StandIn(Embedder):
    """The embedder of the recordings: sums of rolled rows of whole numbers."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.rows = np.random.RandomState(11).randint(-4, 5, (103, 768), dtype=np.int64)
        self.info = EmbedderInfo("stand-in", 768, 32, False, False, "")

    def normalize(self, text):
        return text  # as it was recorded, blanks at the end among it

    def encode(self, texts):
        ids = [self._tokenizer(t, max_length=32, truncation=True)["input_ids"] for t in texts]
        sums = [sum(np.roll(self.rows[i], p) for p, i in enumerate(row)) for row in ids]
        return np.stack(sums).astype(np.float32) / 16


def loaded(part: str, folder: Path) -> Generator:
    """A checkpoint of the recordings: its T5 and the last layers of its projectors are stored, the
    first layers are made here."""
    published = FIXTURES / f"vec2text_{part}"
    weights = load_file(published / "model.safetensors")
    weights |= {name: w.float() for name, w in load_file(LOOP / f"{part}.safetensors").items()}
    random = np.random.RandomState(12)
    hidden = torch.from_numpy(random.randint(-1, 2, (128, 768))).float() / 32
    bias = torch.from_numpy(random.randint(-4, 5, 128)).float() / 4
    for name in [name for name in weights if name.endswith(".3.weight")]:
        weights[name.replace("3.weight", "0.weight")] = hidden.clone()
        weights[name.replace("3.weight", "0.bias")] = bias.clone()
    values = json.loads((published / "config.json").read_text()) | {"max_seq_length": 32}
    values |= {"embedder_model_name": "stand-in"}
    folder = folder / part
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(values))
    return Generator.from_pretrained(folder)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    tokenizer = load_tokenizer(FIXTURES / "tiny_t5")
    return StandIn(tokenizer), tokenizer, loaded("inverter", folder), loaded("corrector", folder)


def closed(rows: torch.Tensor) -> list[list[int]]:
    """Ids up to the first closing token."""
    lists = [row.tolist() for row in rows]
    return [row[: row.index(1) + 1] if 1 in row else row for row in lists]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", BEAMS)
def test_every_draft_and_every_correction_is_vec2texts(parts, kind, fast, monkeypatch):
    monkeypatch.setattr(inference, "search_dtype", lambda device: torch.float32)
    monkeypatch.setattr(targets, "TOLERANCE", -1.0)  # vec2text went on with exact texts
    embedder, tokenizer, hypothesizer, corrector = parts
    hypothesizer.fast = corrector.fast = fast
    calls, generate = [], Generator.generate

    def noting(self, *given, **settings):
        written = generate(self, *given, **settings)
        calls.append((given, written))
        return written

    monkeypatch.setattr(Generator, "generate", noting)
    pair = Pair(embedder, tokenizer, hypothesizer, corrector)
    inverter = Inverter(pair, SearchOptions(search="exhaustive"))
    vectors = embedder.encode(TEXTS["targets"])
    found = inverter.invert(vectors, rounds=3, beam=BEAMS[kind])

    for step, (given, written) in enumerate(calls[1:]):
        recorded = {
            name: IDS[f"{kind}.step{step}.{name}"].long()
            for name in ("draft_input_ids", "draft_attention_mask", "generated_ids")
        }
        assert closed(written) == closed(recorded["generated_ids"])
        _, _, ids, mask = given
        assert torch.equal(ids * mask, recorded["draft_input_ids"])
        assert torch.equal(mask, recorded["draft_attention_mask"])
    assert step == 2
    assert [f.text for f in found] == TEXTS[kind]


def test_a_text_that_nobody_wrote_is_read_as_if_the_generator_had(parts):
    """A draft given by hand, and what an edit made."""
    embedder, tokenizer, _, corrector = parts
    words = "a small boat waits by the river"
    ids, mask = Writer(corrector, tokenizer, embedder).read([words, " ".join([words] * 9)])
    canonical = tokenizer(words)["input_ids"]
    assert ids.shape == (2, 32)
    assert ids[0].tolist() == [0, *canonical, *[0] * (31 - len(canonical))]
    assert mask[0].tolist() == [0, *[1] * len(canonical), *[0] * (31 - len(canonical))]
    assert mask[1].tolist() == [0, *[1] * 31] and 1 not in ids[1], "full, so without closing token"


def test_what_nanov2t_published_reads_the_text_and_its_closing_token():
    assert not Generator.from_pretrained(FIXTURES / "nanov2t_stage2").config.reads_written
