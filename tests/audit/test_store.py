"""Auditing a store itself: what its report says, with texts beside the vectors and without."""

import json
from hashlib import sha256

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanov2t.audit.content import find_items, make_records
from nanov2t.audit.finding import finding
from nanov2t.audit.judging import schema
from nanov2t.audit.membership import Membership
from nanov2t.seal import source_hash

TEXTS = [*make_records(24, seed=3), "  ", "My father repairs old clocks."]


@pytest.fixture
def audit(tiny, minilm, tmp_path, monkeypatch, command):
    """The command on a store of 26 rows, one without text and one without vector."""
    monkeypatch.chdir(tmp_path)
    tiny.corrector.save_pretrained("tiny", tiny.tokenizer)
    vectors = minilm.encode(TEXTS)
    vectors[25] = 0
    rows = pa.table({"body": TEXTS, "vector": vectors.tolist(), "n": list(range(26))})
    pq.write_table(rows, "v.parquet")
    line = ["audit", "--vectors", "v.parquet", "--inverter", "tiny", "--out", "out"]
    return lambda *more: command(*line, "--rounds", "0", "--beam", "1", *more)


def report_of(folder):
    report = json.loads((folder / "out" / "report.json").read_text())
    jsonschema.validate(report, schema())
    return report, (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_a_store_without_texts(audit, tmp_path, command):
    code, out, err = audit("--limit", "30")
    assert code == 0 and out == "out/report.html\n", err
    report, page = report_of(tmp_path)
    hashed = sha256((tmp_path / "v.parquet").read_bytes()).hexdigest()
    assert report["store"] == {
        "name": "v.parquet#vector",
        "rows": 26,
        "dim": 384,
        "kind": "float64",
        "text_column": None,
        "drawn": 26,
        "bad_vectors": 1,
        "without_text": 0,
        "sha256": {"before": hashed, "after": hashed},
    }
    assert sorted(x["id"] for x in report["readings"]) == list(range(25))
    assert report["finding"]["severity"] == "low" and not report["defences"]
    assert page.index("Confidential.") < page.index("<h1>What v.parquet#vector gives away")
    assert "0 % (95 % interval 0 to 13) of 25 stored texts were read with certainty" in page
    assert page.count(hashed) == 2 and "unchanged" in page
    assert command("check", "out")[0] == 0
    (tmp_path / "out" / "report.html").write_text(page.replace("low", "high"))
    code, out, err = command("check", "out")
    assert code == 1 and err == "nanov2t: report.html: altered\n" and f"before: {hashed}" in out


def test_a_store_with_texts(audit, tmp_path):
    code, _, err = audit("--text-column", "body", "--limit", "5", "--redact")
    assert code == 0, err
    report, page = report_of(tmp_path)
    [sample], [row] = report["samples"], report["defences"]
    assert (sample["tokens"], sample["n"], report["texts"]) == (8, 5, 24)
    assert report["store"]["without_text"] == report["store"]["bad_vectors"] == 1
    assert report["membership"] == {"members": 12, "others": 12, "agreement": 1}
    assert len(row["attackers"][0]["lengths"]) == 1 and not report["readings"]
    assert "shows no texts" in page and "of 5 stored texts" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--text-column", "nothing"], "v.parquet: no column nothing, only body, vector, n"),
        (["--text-column", "n"], "v.parquet#vector: n holds whole numbers, not texts"),
        (["--texts", "t.txt"], "t.txt: no such file"),
        (["--lengths", "4"], "--vectors: leave out --texts and --lengths"),
        (["--defence", "bits"], "--defence needs --text-column, to compare with"),
        (["--sarif", "x"], "--sarif needs --gate"),
    ],
)
def test_what_will_not_do_is_one_line(audit, tmp_path, more, said):
    code, out, err = audit(*more)
    assert code == 2 and not out and said in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_hash_is_of_all_files_of_a_folder(tmp_path):
    for name in "ab":
        (tmp_path / "s").mkdir(exist_ok=True)
        np.save(tmp_path / "s" / f"{name}.npy", np.ones((2, 3)))
    before = source_hash(str(tmp_path / "s"))
    assert source_hash(str(tmp_path / "s" / "*.npy")) == before
    (tmp_path / "s").rename(tmp_path / "moved")
    assert source_hash(str(tmp_path / "moved")) == before
    np.save(tmp_path / "moved" / "b.npy", np.zeros((2, 3)))
    assert source_hash(str(tmp_path / "moved")) != before


def test_names_without_capitals_need_a_known_surname():
    kinds = [(x.kind, x.text) for x in find_items("mario hernandez will mark the place", False)]
    assert kinds == [("names", "mario hernandez")]


def readings(*cosines, **kinds):
    rows = [{"cosine": x, "certain": x == 1, "kinds": kinds} for x in cosines]
    return {"defences": [], "readings": rows}


def test_how_grave_a_finding_is():
    assert finding(readings(0.5, 0.6))["severity"] == "low"
    assert finding(readings(0.95, 0.6))["severity"] == "moderate"
    assert finding(readings(0.95, 0.6, names=1))["severity"] == "high"
    assert finding(readings(0.5, 0.6, names=1))["severity"] == "low"
    grave = finding(readings(1, 0.6, dates=1))
    assert grave["severity"] == "critical" and "they hold dates" in grave["found"]
    assert "handle that as a leak of the texts" in grave["advice"]


class Holding:
    """An attacker who holds vectors with noise and knows nothing."""

    name, repeats = "holding", None

    def __init__(self, noise):
        draw = np.random.default_rng(1).standard_normal
        self.hold = lambda vectors: vectors + noise * draw(vectors.shape)
        self.restore = lambda vectors: vectors


def test_members_are_told_from_others_unless_noise_hides_them(minilm):
    texts = [f"{i} lamps stand in harbour {7 * i}." for i in range(240)]
    membership = Membership(minilm, [*texts, *texts[:9]])
    assert membership.facts == {"members": 120, "others": 120}
    told = membership.figures([Holding(0.0)])
    assert list(told) == ["membership@0.01fpr"], "120 others cannot tell 0.1 %"
    assert told["membership@0.01fpr"]["value"] == 100
    both = membership.figures([Holding(0.2), Holding(0.0)])["membership@0.01fpr"]
    assert both["value"] == 100
    assert membership.figures([Holding(0.2)])["membership@0.01fpr"]["value"] < 20
