"""What a network reads at a step: set by the seed and the step alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import Accelerator
from support import HERE

from nanov2t.core.errors import UserError
from nanov2t.train.config import PrefixRecipe, TextConfig
from nanov2t.train.data import padded
from nanov2t.train.lines import Lines
from nanov2t.train.texts import BESIDE, Schedule, TextSource, dev_texts


def test_a_schedule_keeps_its_lengths_and_goes_on():
    data = TextConfig(lengths=[16])
    schedule = Schedule(data, tokens=520, steps=4000, seed=0, going_on=0.85, rounds=6)
    new = schedule.round == 0
    assert 0.45 < (schedule.length[new] == 16).mean() < 0.6
    assert schedule.length.min() == 4 and schedule.length.max() == 32
    assert (schedule.size == 520 // (schedule.length + BESIDE)).all()
    assert schedule.round.max() == 5 and 3.8 < 1 / new.mean() < 4.5
    for step in np.flatnonzero(~new):
        assert schedule.length[step] == schedule.length[step - 1]
        assert schedule.goes_on(step - 1)
    assert schedule.examples(3) == schedule.size[:3].sum()
    assert schedule.texts(4000) == schedule.size[new].sum()


def source(minilm, tmp_path, processes=1, index=0, **data):
    config = PrefixRecipe(data=TextConfig(train=str(HERE / "passages.txt"), **data))
    config.data.cache, config.optim.steps, config.optim.tokens = tmp_path, 50, 400
    here = SimpleNamespace(
        num_processes=processes,
        process_index=index,
        main_process_first=Accelerator().main_process_first,
    )
    return TextSource(config, minilm.tokenizer, here, 0.5, 3)


def test_steps_know_their_texts_whoever_asks(minilm, tmp_path):
    ours = source(minilm, tmp_path)
    every = [ours.at(step) for step in range(20)]
    again = source(minilm, tmp_path)
    assert [again.at(step) for step in reversed(range(20))] == every[::-1]
    for step in range(1, 20):
        assert (every[step] == every[step - 1]) == bool(ours.schedule.round[step])
        assert len(every[step]) == ours.schedule.size[step]
        assert all(1 <= len(row) <= ours.schedule.length[step] for row in every[step])
    halves = [source(minilm, tmp_path, 2, i).mine for i in range(2)]
    assert sorted(every[3][halves[0]] + every[3][halves[1]]) == sorted(every[3])


def test_sentences_begin_and_end_as_such(minilm, tmp_path, passages):
    texts = source(minilm, tmp_path, sentences=1.0, lines=0.0)
    known = {tuple(minilm.tokenizer(p, add_special_tokens=False)["input_ids"]) for p in passages}
    for step in range(10):
        length = texts.schedule.length[step]
        for row in texts.at(step):
            [passage] = [p for p in known if any(_at(p, row, i) for i in range(len(p)))][:1]
            place = next(i for i in range(len(passage)) if _at(passage, row, i))
            assert place == 0 or passage[place - 1] in texts.stops
            rest = passage[place : place + length]
            assert row[-1] in texts.stops or not set(rest) & set(texts.stops)


def _at(passage, row, place):
    return list(passage[place : place + len(row)]) == row


def test_made_up_lines_are_of_many_kinds():
    lines = Lines(np.random.default_rng(0))
    drawn = [lines.draw() for _ in range(500)]
    assert len(set(drawn)) > 480
    assert any("@" in line for line in drawn) and any("password" in line for line in drawn)
    assert Lines(np.random.default_rng(0)).draw() == drawn[0]


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
