"""What a vector's likeliest words are, and how often they are right."""

import json
import sys

import numpy as np
import pytest
import torch
from rich.text import Text

from nanov2t.core.errors import UserError
from nanov2t.evaluation.words import COUNT, likeliest_words, word_figures
from nanov2t.inverter import Inverter

TEXTS = ["the train to vienna was late again.", "my father repairs old clocks."]


def test_a_t5s_words_are_those_of_its_lexical_head(tiny):
    vectors = tiny.embedder.encode(TEXTS)
    linear = tiny.hypothesizer.lexical.linear
    with torch.no_grad():
        odds = linear(torch.from_numpy(vectors)) * 1.0
    odds[:, tiny.tokenizer.all_special_ids] = -torch.inf
    for words, row in zip(likeliest_words(tiny, vectors, 5), odds, strict=True):
        assert [word.id for word in words] == row.argsort(descending=True)[:5].tolist()
        assert words[0].share == pytest.approx(float(row.softmax(0).max()), rel=1e-4)


def test_the_bundled_inverter_knows_most_words_of_a_sentence(bundled):
    vectors = bundled.embedder.encode(TEXTS)
    first, second = likeliest_words(bundled, vectors)
    assert {"vienna", "late", "the"} <= {word.text for word in first}
    assert {"father", "clock", "clocks"} & {word.text for word in second}
    rows = bundled.tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    right = [
        len(set(row) & {word.id for word in words})
        for row, words in zip(rows, (first, second), strict=True)
    ]
    figures = word_figures(bundled, vectors, TEXTS)
    assert figures["precision"] == pytest.approx(100 * sum(right) / 2 / COUNT)
    recalls = [100 * n / len(set(row)) for n, row in zip(right, rows, strict=True)]
    assert figures["recall"] == pytest.approx(np.mean(recalls)) and figures["recall"] > 30


def test_without_a_lexical_head_it_says_so(bundled):
    plain = Inverter(
        bundled.embedder, bundled.tokenizer, None, bundled.corrector, bundled.dictionary
    )
    with pytest.raises(UserError, match="no lexical head"):
        likeliest_words(plain, bundled.embedder.encode(TEXTS))


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    tiny.corrector.save_pretrained("tiny", tiny.tokenizer)

    def run(*args):
        return command(*args, "--inverter", "tiny")

    return run


def test_the_command_and_the_figures_of_an_evaluation(run, tiny, monkeypatch):
    code, out, _ = run("words", *TEXTS, "--count", "3")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["text"] for row in rows] == TEXTS
    vectors = tiny.embedder.encode(TEXTS)
    np.save("v.npy", vectors)
    for row, words in zip(rows, likeliest_words(tiny, vectors, 3), strict=True):
        assert [word["word"] for word in row["words"]] == [word.text for word in words]
    code, out, _ = run("words", "--vectors", "v.npy", "--count", "3")
    assert [json.loads(line)["words"] for line in out.splitlines()] == [r["words"] for r in rows]
    with open("texts.txt", "w") as file:
        file.write("\n".join(TEXTS))
    code, out, _ = run("evaluate", "--texts", "texts.txt", "--rounds", "0", "--beam", "1", "--json")
    assert set(json.loads(out)["words"]) == {"count", "precision", "recall"}
    code, out, _ = run("evaluate", "--texts", "texts.txt", "--rounds", "0", "--beam", "1")
    assert f"{COUNT} likeliest words: precision" in out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = run("words", TEXTS[0], "--count", "2")
    assert code == 0 and rows[0]["words"][0]["word"] in Text.from_ansi(out).plain


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give either texts or --vectors"),
        (["a text", "--count", "0"], "--count must be at least 1"),
        (["--vectors", "none.npy"], "none.npy"),
    ],
)
def test_what_does_not_fit_is_one_line(run, args, said):
    code, out, err = run("words", *args)
    assert code == 2 and not out and said in err and err.count("\n") == 1
