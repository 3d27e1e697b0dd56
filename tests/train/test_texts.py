"""What a network reads at a step: set by the seed and the step alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import Accelerator
from support import HERE

from nanov2t.core.errors import UserError
from nanov2t.train.config import EditDrafts, EditRecipe, TextConfig
from nanov2t.train.data import padded
from nanov2t.train.texts import BESIDE, TextSource, dev_texts, made_up


def source(minilm, tmp_path, processes=1, index=0, steps=50, going_on=0.5, rounds=3, **data):
    config = EditRecipe(
        drafts=EditDrafts(going_on=going_on, rounds=rounds),
        data=TextConfig(train=str(HERE / "passages.txt"), **data),
    )
    config.data.cache, config.optim.steps, config.optim.tokens = tmp_path, steps, 400
    here = SimpleNamespace(
        num_processes=processes,
        process_index=index,
        main_process_first=Accelerator().main_process_first,
    )
    return TextSource(config, minilm.tokenizer, here)


def test_the_plan_keeps_its_lengths_and_goes_on(minilm, tmp_path):
    texts = source(minilm, tmp_path, steps=4000, going_on=0.85, rounds=6, lengths=[16])
    new = texts.round[:-1] == 0
    assert 0.45 < (texts.length[new] == 16).mean() < 0.6
    assert texts.length.min() == 4 and texts.length.max() == 32
    assert (texts.size == 400 // (texts.length + BESIDE)).all()
    assert texts.round.max() == 5 and 3.8 < 1 / new.mean() < 4.5
    for step in np.flatnonzero(~new):
        assert texts.length[step] == texts.length[step - 1]
    assert texts.seen[3] == texts.size[:3].sum()


def test_steps_know_their_texts_whoever_asks(minilm, tmp_path):
    ours = source(minilm, tmp_path)
    every = [ours.at(step) for step in range(20)]
    again = source(minilm, tmp_path)
    assert [again.at(step) for step in reversed(range(20))] == every[::-1]
    for step in range(1, 20):
        assert (every[step] == every[step - 1]) == bool(ours.round[step])
        assert len(every[step]) == ours.size[step]
        assert all(1 <= len(row) <= ours.length[step] for row in every[step])
    halves = [source(minilm, tmp_path, 2, i).mine for i in range(2)]
    assert sorted(every[3][halves[0]] + every[3][halves[1]]) == sorted(every[3])


def test_sentences_begin_and_end_as_such(minilm, tmp_path, passages):
    texts = source(minilm, tmp_path, sentences=1.0, lines=0.0)
    known = {tuple(minilm.tokenizer(p, add_special_tokens=False)["input_ids"]) for p in passages}
    for step in range(10):
        length = texts.length[step]
        for row in texts.at(step):
            [passage] = [p for p in known if any(_at(p, row, i) for i in range(len(p)))][:1]
            place = next(i for i in range(len(passage)) if _at(passage, row, i))
            assert place == 0 or passage[place - 1] in texts.stops
            rest = passage[place : place + length]
            assert row[-1] in texts.stops or not set(rest) & set(texts.stops)


def _at(passage, row, place):
    return list(passage[place : place + len(row)]) == row


def test_made_up_lines_are_of_many_kinds():
    rng = np.random.default_rng(0)
    drawn = [made_up(rng) for _ in range(500)]
    assert len(set(drawn)) > 480
    assert any("@" in line for line in drawn) and any("password" in line for line in drawn)
    assert made_up(np.random.default_rng(0)) == drawn[0]


def test_lines_take_their_share(minilm, tmp_path):
    texts = source(minilm, tmp_path, sentences=0.0, lines=1.0, min_tokens=32, lengths=[32])
    rows = minilm.tokenizer.batch_decode(texts.at(0))
    assert sum(any(c.isdigit() for c in row) for row in rows) > len(rows) / 3


def test_too_many_processes_are_refused(minilm, tmp_path):
    with pytest.raises(UserError, match="too few for so many processes"):
        source(minilm, tmp_path, processes=100)


def test_dev_texts_are_of_some_lengths(minilm, tmp_path):
    (tmp_path / "dev.txt").write_text("one two three\n" + "many words " * 10 + "\n")
    config = TextConfig(dev=str(tmp_path / "dev.txt"))
    rows = dev_texts(config, minilm.tokenizer, 5)
    assert {length: list(map(len, texts)) for length, texts in rows.items()} == {8: [8], 16: [16]}


def test_padding():
    assert padded([[1, 2], [], [3]], 9).tolist() == [[1, 2], [9, 9], [3, 9]]
