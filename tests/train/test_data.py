import gzip
import json
import lzma

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages
from nanov2t.embedders.text import decode_texts, reference
from nanov2t.train.data import Corpus, Crops, Embed


@pytest.fixture(scope="module")
def corpus(minilm, tmp_path_factory):
    from support import HERE

    return Corpus.load(
        str(HERE / "passages.txt"), minilm.tokenizer, tmp_path_factory.mktemp("cache")
    )


@pytest.mark.parametrize(
    "suffix", [".txt", ".txt.gz", ".txt.xz", ".jsonl", ".jsonl.gz", ".parquet"]
)
def test_every_format_reads_the_same(tmp_path, suffix):
    texts = ["First passage.", "Zweiter Absatz, über Köln.", "third"]
    path = tmp_path / f"text{suffix}"
    if suffix == ".parquet":
        datasets.Dataset.from_dict({"text": texts}).to_parquet(path)
    else:
        lines = [json.dumps({"text": text}) for text in texts] if "jsonl" in suffix else texts
        opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
        with opened(path, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    assert list(read_passages(str(path))) == texts


def test_splits_of_data_sets(tmp_path):
    def rows(name, n):
        return datasets.Dataset.from_dict({"text": [f"{name} {i}" for i in range(n)]})

    (tmp_path / "nq_corpus_dpr").mkdir()
    rows("train", 5).to_parquet(tmp_path / "nq_corpus_dpr" / "train.parquet")
    rows("dev", 2500).to_parquet(tmp_path / "nq_corpus_dpr" / "dev.parquet")
    (tmp_path / "nq_corpus_dpr" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: "
        "train.parquet\n"
        "  - split: dev\n    path: dev.parquet\n---\n"
    )
    (tmp_path / "msmarco").mkdir()
    rows("train", 2003).to_parquet(tmp_path / "msmarco" / "train.parquet")

    def ends(name, split):
        texts = list(read_passages(str(tmp_path / name), split))
        return texts[0], texts[-1], len(texts)

    assert ends("nq_corpus_dpr", "train") == ("train 0", "train 4", 5)
    assert ends("nq_corpus_dpr", "test") == ("dev 0", "dev 999", 1000)
    assert ends("nq_corpus_dpr", "dev") == ("dev 1000", "dev 1999", 1000)
    assert ends("msmarco", "train") == ("train 0", "train 2", 3)
    assert ends("msmarco", "dev") == ("train 3", "train 1002", 1000)
    assert ends("msmarco", "test") == ("train 1003", "train 2002", 1000)


@pytest.mark.parametrize("content", [b"", b"\n\n \n", b"\xff\xfe\x00"])
def test_files_without_text_are_refused(tmp_path, content):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.txt"):
        list(read_passages(str(path)))


def test_missing_sources_are_refused(tmp_path):
    for source in (str(tmp_path / "none.txt"), str(tmp_path / "no" / "folder"), "no-such/data-set"):
        with pytest.raises(UserError):
            list(read_passages(source))


def test_reference_is_what_the_embedder_sees(minilm):
    tokenizer = minilm.tokenizer
    assert (
        reference("Über  allen GIPFELN ist Ruh", tokenizer, minilm, 32)
        == "uber allen gipfeln ist ruh"
    )
    assert reference("one two three four", tokenizer, minilm, 2) == "one two"


def test_the_corpus_is_cached_by_content(minilm, tmp_path, passages):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    for path in (first, second):
        path.write_text("\n".join(passages), encoding="utf-8")
    a, b = (
        Corpus.load(str(path), minilm.tokenizer, tmp_path / "cache") for path in (first, second)
    )
    assert a.folder == b.folder
    second.write_text("\n".join(passages[1:]), encoding="utf-8")
    assert Corpus.load(str(second), minilm.tokenizer, tmp_path / "cache").folder != a.folder
    rows = [a.tokens[i:j].tolist() for i, j in zip(a.offsets, a.offsets[1:], strict=False)]
    assert decode_texts(rows, minilm.tokenizer, minilm) == [
        reference(text, minilm.tokenizer, minilm, 999) for text in passages
    ]


@settings(max_examples=30, deadline=None)
@given(
    step=st.integers(0, 500),
    size=st.integers(1, 64),
    tokens=st.integers(4, 40),
    seed=st.integers(0, 3),
)
def test_crops_stay_in_their_passage_and_start_at_words(corpus, minilm, step, size, tokens, seed):
    crops = Crops(corpus, minilm.tokenizer, seed, tokens, min_tokens=2, short_share=0.2)
    passage, start, length = crops.draw(step, size)
    assert (length >= 1).all() and (length <= tokens).all()
    assert (corpus.offsets[passage] <= start).all() and (
        start + length <= corpus.offsets[passage + 1]
    ).all()
    pieces = minilm.tokenizer.convert_ids_to_tokens(corpus.tokens[start].tolist())
    assert not any(piece.startswith("##") for piece in pieces)


@settings(max_examples=10, deadline=None)
@given(step=st.integers(0, 50), ranks=st.integers(1, 5))
def test_crops_do_not_depend_on_the_number_of_processes(corpus, minilm, step, ranks):
    crops = Crops(corpus, minilm.tokenizer, 0, 32, short_share=0.2)
    whole = crops.ids(step, 20)[0]
    for rank in range(ranks):
        assert torch.equal(crops.ids(step, 20, slice(rank, None, ranks))[0], whole[rank::ranks])


def test_an_epoch_visits_every_window_once(corpus, minilm):
    crops = Crops(corpus, minilm.tokenizer, 0, 32, short_share=0.2, start=True)
    n = len(crops)
    passage, _, length = crops.draw(0, n)
    assert (length == np.minimum(32, np.diff(corpus.offsets)[passage])).all()
    epochs = [crops.draw(step, n)[0] for step in range(2)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_token_ids_embed_as_their_text_does(corpus, minilm):
    ids, mask, _ = Crops(corpus, minilm.tokenizer, 0, 32, short_share=0.2).ids(0, 64)
    embed = Embed(minilm, minilm.tokenizer)
    assert embed.direct
    texts = decode_texts(
        [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)],
        minilm.tokenizer,
        minilm,
    )
    np.testing.assert_allclose(embed(ids, mask).numpy(), minilm.encode(texts), atol=1e-5)


def test_rough_vectors_are_nearly_the_exact_ones(corpus, minilm):
    crops = Crops(corpus, minilm.tokenizer, 1, 32, min_tokens=2, short_share=0.2)
    ids, mask, _ = crops.ids(0, 16)
    exact, rough = (Embed(minilm, minilm.tokenizer, rough=rough)(ids, mask) for rough in (0, 1))
    assert len(set(mask.sum(1).tolist())) > 3
    assert (exact * rough).sum(1).min() > 0.998


def test_start_vectors_are_cached_and_right(minilm, tmp_path, passages):
    path = tmp_path / "some.txt"
    path.write_text("\n".join(passages[:9]), encoding="utf-8")
    corpus = Corpus.load(str(path), minilm.tokenizer, tmp_path / "cache")
    vectors = corpus.start_vectors(minilm, minilm.tokenizer, 12)
    expected = minilm.encode(
        [reference(text, minilm.tokenizer, minilm, 12) for text in passages[:9]]
    )
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert isinstance(corpus.start_vectors(minilm, minilm.tokenizer, 12), np.memmap)
