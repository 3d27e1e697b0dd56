import datasets
import pytest

from nanov2t.core.errors import UserError
from nanov2t.core.passages import read_passages, read_rows


@pytest.fixture
def beir(tmp_path):
    """A data set of BEIR's shape: two configurations, the texts in `corpus`."""
    folder = tmp_path / "BeIR" / "scifact"
    folder.mkdir(parents=True)
    texts = {"_id": ["4", "7"], "title": ["Rivers", ""], "text": ["They flow.", " A key. "]}
    datasets.Dataset.from_dict(texts).to_parquet(folder / "corpus.parquet")
    datasets.Dataset.from_dict({"_id": ["1"], "text": ["why?"]}).to_parquet(folder / "q.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: corpus\n  data_files:\n  - split: corpus\n    path: corpus.parquet\n"
        "- config_name: queries\n  data_files:\n  - split: queries\n    path: q.parquet\n---\n"
    )
    return str(folder)


def test_of_beir_the_titles_and_texts_of_the_corpus(beir):
    assert list(read_rows(beir, "test")) == ["Rivers They flow.", "A key."]
    assert list(read_rows(beir, "test", "text")) == ["They flow.", "A key."]


def test_blank_rows_keep_their_places(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\n\n  \ntwo\n")
    assert list(read_rows(str(path))) == ["one", "", "", "two"]
    assert list(read_passages(str(path))) == ["one", "two"]


def data_set(folder, **splits):
    folder.mkdir()
    for name, texts in splits.items():
        datasets.Dataset.from_dict({"text": texts}).to_parquet(folder / f"{name}.parquet")
    return str(folder)


def test_splits_of_their_own_come_first(tmp_path):
    source = data_set(tmp_path / "own", train=["a"], validation=["b"], test=["c"])
    assert [list(read_rows(source, s)) for s in ("train", "dev", "test")] == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("split", "column", "said"),
    [
        ("third", "", "no split third, only train, test"),
        ("test", "body", "no column `body`, only text"),
        ("test", "text,body", "no column `body`, only text"),
    ],
)
def test_what_a_data_set_has_not_is_named(tmp_path, split, column, said):
    source = data_set(tmp_path / "own", train=["a"], test=["c"])
    with pytest.raises(UserError, match=said):
        list(read_rows(source, split, column))


def test_too_few_rows_to_hold_back(tmp_path):
    with pytest.raises(UserError, match="3 rows are too few"):
        list(read_rows(data_set(tmp_path / "few", train=["a", "b", "c"]), "test"))
