"""Published checkpoints as inverters: pairs, single parts, releases by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from support import FIXTURES, logits

from nanov2t.core.errors import UserError
from nanov2t.embedders.registry import load_embedder
from nanov2t.load import load_inverter
from nanov2t.pretrained import DEFAULT
from nanov2t.t5.checkpoints import RELEASES
from nanov2t.t5.generator import Generator
from nanov2t.t5.inference import export_pair, load_pair


def test_export_writes_a_pair_that_loads_as_one(tmp_path, gtr_mean):
    parts = FIXTURES / "vec2text_corrector", tmp_path / "pair", FIXTURES / "vec2text_inverter"
    export_pair(*parts, int8=False)
    inverter = load_inverter(tmp_path / "pair", embedder=gtr_mean, device="cpu")
    assert torch.equal(
        logits(inverter.hypothesizer, "vec2text_inverter"),
        logits(Generator.from_pretrained(FIXTURES / "vec2text_inverter"), "vec2text_inverter"),
    )
    assert torch.equal(
        logits(inverter.corrector, "vec2text_corrector"),
        logits(Generator.from_pretrained(FIXTURES / "vec2text_corrector"), "vec2text_corrector"),
    )
    export_pair(FIXTURES / "nanov2t_stage2", tmp_path / "single")
    assert Generator.from_pretrained(tmp_path / "single").config.corrects


def test_pairs_and_parts(gtr_mean):
    vectors = gtr_mean.encode(["the dog", "a cat sat"])
    corrector, hypothesizer = FIXTURES / "vec2text_corrector", FIXTURES / "vec2text_inverter"
    pair = load_inverter(corrector, hypothesizer, embedder=gtr_mean, device="cpu").invert(
        vectors, rounds=2, beam=2
    )
    first = load_inverter(hypothesizer, embedder=gtr_mean, device="cpu").invert(
        vectors, rounds=2, beam=2
    )
    assert [found.rounds[0].text for found in pair] == [found.rounds[0].text for found in first]
    assert all(len(found.rounds) == 1 for found in first) and any(
        len(found.rounds) > 1 for found in pair
    )
    alone = load_inverter(corrector, embedder=gtr_mean, device="cpu")
    assert [found.rounds[0].text for found in alone.invert(vectors, rounds=1, beam=2)] == ["", ""]
    given = alone.invert(vectors, rounds=1, beam=2, drafts=["the", "a"])
    assert [found.rounds[0].text for found in given] == ["the", "a"]


def test_training_runs_make_a_pair(tmp_path, gtr_mean):
    for run, folder in (("stage1", "vec2text_inverter"), ("stage2", "vec2text_corrector")):
        export_pair(FIXTURES / folder, tmp_path / run / "model")
    inverter = load_inverter(
        tmp_path / "stage2", tmp_path / "stage1", embedder=gtr_mean, device="cpu"
    )
    assert inverter.hypothesizer.config.hypothesizes and inverter.corrector.config.corrects


def test_what_does_not_fit_is_refused(gtr, gtr_mean, tmp_path):
    corrector, hypothesizer = FIXTURES / "vec2text_corrector", FIXTURES / "vec2text_inverter"
    with pytest.raises(
        UserError, match=r"gtr-t5-base#mean with normalized False; .* has normalized True"
    ):
        load_inverter(corrector, hypothesizer, embedder=load_embedder(str(gtr), "cpu"))
    with pytest.raises(UserError, match=r"vectors have 24 numbers, .* makes 768"):
        load_inverter(corrector, embedder=gtr_mean, device="cpu").invert(
            np.ones((1, 24), np.float32)
        )
    with pytest.raises(UserError, match=r"dimension 24.* has 768"):
        load_inverter(FIXTURES / "nanov2t_stage1", embedder=gtr_mean)
    with pytest.raises(UserError, match="does not say which embedder"):
        load_inverter(FIXTURES / "nanov2t_stage1")
    with pytest.raises(UserError, match="has no corrector"):
        load_pair(hypothesizer, hypothesizer)
    with pytest.raises(UserError, match="is a corrector"):
        load_pair(corrector, corrector)
    with pytest.raises(
        UserError, match=f"inverter nothing: neither a folder nor one of {DEFAULT}, gtr-nq32"
    ):
        load_pair("nothing")
    with pytest.raises(UserError, match="only #mean may follow"):
        load_embedder(f"{gtr}#max", "cpu")
    shutil.copytree(hypothesizer, tmp_path / "other")
    words = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    words["model"]["vocab"][-1][0] += "x"
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(UserError, match="different vocabularies"):
        load_pair(corrector, tmp_path / "other")


def test_mean_leaves_out_what_follows_the_pooling(gtr, gtr_mean):
    whole = load_embedder(str(gtr), "cpu")
    texts = ["the dog", "a cat sat on the mat"]
    pooled = SentenceTransformer(modules=list(whole.model)[:2], device="cpu").encode(texts)
    assert np.allclose(gtr_mean.encode(texts), pooled, atol=1e-6)
    assert (gtr_mean.normalized, whole.normalized, gtr_mean.name) == (False, True, f"{gtr}#mean")
    assert gtr_mean.info.fingerprint != whole.info.fingerprint


def hub_cache(home: Path, repositories: dict[str, Path]) -> None:
    """Lay folders out as the Hub's client caches repositories."""
    for number, (name, folder) in enumerate(repositories.items()):
        root = home / f"models--{name.replace('/', '--')}"
        sha = f"{number:040x}"
        for path in sorted(
            p for p in folder.rglob("*") if p.is_file() and p.name != "expected.safetensors"
        ):
            place = root / "snapshots" / sha / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            (root / "blobs").mkdir(exist_ok=True)
            blob = root / "blobs" / f"{len(list((root / 'blobs').iterdir())):064x}"
            shutil.copyfile(path, blob)
            place.symlink_to(os.path.relpath(blob, place.parent))
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(sha)


BY_NAME = """
import json
from pathlib import Path
from nanov2t import Generator, load_inverter
from nanov2t.t5.inference import export_pair, load_pair
inverter = load_inverter("gtr-nq32", device="cpu")
[found] = inverter.invert(inverter.embedder.encode(["the dog"]), rounds=1, beam=2)
for name in ("gtr-st-nq32", "gtr-st-nq32-ielab", "ada-002"):
    export_pair(name, Path("out") / name)
print(json.dumps({
    "embedder": inverter.embedder.name, "max_tokens": inverter.max_tokens,
    "rounds": len(found.rounds),
    "stage2": Generator.from_pretrained("Hannibal046/gtr_t5_nq_32_stage2").config.dim,
    "pair": [g is not None for g in load_pair("jxm/gtr__nq__32__correct", "jxm/gtr__nq__32")[:2]],
    "part": load_inverter(
        "ielabgroup/vec2text_gtr-base-st_corrector", device="cpu"
    ).embedder.normalized,
    "ielab": load_inverter("gtr-st-nq32-ielab", device="cpu").embedder.normalized,
    "out": sorted(str(p.parent.relative_to("out")) for p in Path("out").rglob("config.json")),
}))
"""


def test_releases_load_by_name_from_the_hub_cache(tmp_path, gtr):
    home = dict.fromkeys((r.corrector for r in RELEASES.values()), FIXTURES / "vec2text_corrector")
    home |= {
        r.hypothesizer: FIXTURES / "vec2text_inverter" for r in RELEASES.values() if r.hypothesizer
    }
    home |= {
        "Hannibal046/gtr_t5_nq_32_stage2": FIXTURES / "nanov2t_stage2",
        "sentence-transformers/gtr-t5-base": gtr,
    }
    hub_cache(tmp_path / "hub", home)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BY_NAME],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "embedder": "sentence-transformers/gtr-t5-base#mean",
        "max_tokens": 15,
        "rounds": 2,
        "stage2": 24,
        "pair": [True, True],
        "ielab": True,
        "part": True,
        "out": ["ada-002/corrector", "ada-002/hypothesizer", "gtr-st-nq32", "gtr-st-nq32-ielab"],
    }
