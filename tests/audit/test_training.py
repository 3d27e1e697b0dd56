"""The attacker who trains the inverter on defended vectors."""

import json

import jsonschema
import numpy as np
import torch
from support import HERE

from nanov2t.audit import attackers
from nanov2t.audit.attackers import Reader, retrained
from nanov2t.audit.judging import schema
from nanov2t.models.networks import read_network
from nanov2t.pretrained import BUNDLED, DEFAULT


def test_the_report_has_what_the_trained_inverter_reads(command, tmp_path):
    means = ["--effort", "fast", "--rounds", "0", "--beam", "1", "--limit", "2", "--lengths", "4"]
    texts = ["--texts", HERE / "passages.txt", "--public", HERE / "passages.txt"]
    defended = ["--defence", "bits", "--pairs", "2", "--train-budget", "1s"]
    code, _, err = command("audit", *texts, *means, *defended, "--out", tmp_path)
    assert code == 0, err
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, schema())
    assert [[attacker["name"] for attacker in row["attackers"]] for row in report["defences"]] == [
        ["unchanged", "trained 1s"],
        ["unchanged", "informed", "2 pairs", "trained 1s"],
    ]
    assert report["train_budget"] == "1s" and report["public_texts"] == 40
    assert "verified" in report["defences"][1]["attackers"][-1]["lengths"][0]
    page = (tmp_path / "report.html").read_text()
    assert "Nobody trained" not in page and "trained 1s" in page
    before = read_network(BUNDLED[DEFAULT] / "hypothesizer").state_dict()
    made = [read_network(x).state_dict() for x in (tmp_path / "found").glob("trained-*")]
    assert len(made) == 2, "one on plain vectors, one on defended ones"
    for weights in (*made, before):
        others = [x for x in (*made, before) if x is not weights]
        assert all(
            not torch.equal(x["prefix.0.weight"], weights["prefix.0.weight"]) for x in others
        )


def test_what_was_trained_before_is_not_trained_again(bundled, passages, tmp_path, monkeypatch):
    seen = []

    def flipped(vectors):
        seen.append(len(vectors))
        return -vectors

    reader, training = Reader(bundled, tmp_path), (passages, [8], "1s", 0, "own")
    once = retrained(reader, flipped, *training).inverter
    assert max(seen) > len(passages), "it learns from what the defence makes"
    assert [path.name[:8] for path in tmp_path.iterdir()] == ["trained-"]
    monkeypatch.setattr(attackers, "PrefixTask", None)
    again = retrained(reader, flipped, *training).inverter
    assert again.fingerprint() == once.fingerprint() != bundled.fingerprint()
    assert again.options == bundled.options and again.corrector is bundled.corrector
    assert np.isfinite(again.invert(bundled.embedder.encode(passages[:1]), 0, 1)[0].cosine)
