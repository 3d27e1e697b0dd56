"""The published formats: the fixtures hold what their own code gave for them."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from torch import nn
from transformers import AutoTokenizer, T5Config, T5EncoderModel, T5ForConditionalGeneration

from nanov2t.core.errors import UserError
from nanov2t.embedders.registry import load_embedder
from nanov2t.load import convert, load_inverter, load_pair
from nanov2t.models.checkpoint import load_tokenizer
from nanov2t.models.generator import Generator
from nanov2t.models.published import RELEASES
from nanov2t.pretrained import DEFAULT

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = ["nanov2t_stage1", "nanov2t_stage2", "vec2text_inverter", "vec2text_corrector"]
INPUTS = ("target_embeddings", "draft_embeddings", "draft_input_ids", "draft_attention_mask")


def expected(folder: str) -> tuple[dict, dict]:
    tensors = load_file(FIXTURES / folder / "expected.safetensors")
    return {name: tensors[name] for name in INPUTS if name in tensors}, tensors


def logits(generator, folder: str) -> torch.Tensor:
    given, tensors = expected(folder)
    with torch.inference_mode():
        return generator(**given, labels=tensors["labels"]).logits


@pytest.fixture(scope="module")
def gtr(tmp_path_factory) -> Path:
    """A Sentence Transformers model of GTR's build: T5 encoder, mean pooling, dense layer,
    normalisation."""
    folder = tmp_path_factory.mktemp("gtr")
    torch.manual_seed(0)
    config = T5Config(vocab_size=103, d_model=768, d_kv=8, num_heads=2, d_ff=16, num_layers=1)
    T5EncoderModel(config).save_pretrained(folder / "t5")
    AutoTokenizer.from_pretrained(FIXTURES / "tiny_t5").save_pretrained(folder / "t5")
    whole = SentenceTransformer(
        modules=[
            modules.Transformer(str(folder / "t5"), max_seq_length=512),
            modules.Pooling(768, "mean"),
            modules.Dense(768, 768, bias=False, activation_function=nn.Identity()),
            modules.Normalize(),
        ]
    )
    whole.save(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="module")
def mean(gtr):
    return load_embedder(f"{gtr}#mean", "cpu")


@pytest.mark.parametrize("folder", FOLDERS)
def test_outputs_are_those_of_the_original_code(folder):
    generator = Generator.from_pretrained(FIXTURES / folder)
    given, tensors = expected(folder)
    with torch.inference_mode():
        loss, scores = generator(**given, labels=tensors["labels"])
    assert torch.allclose(scores, tensors["logits"], atol=1e-4, rtol=0)
    assert abs(float(loss) - float(tensors["loss"])) < 1e-4
    for beams in (1, 4):
        if (name := f"generated_beams{beams}") in tensors:
            ids = generator.generate(
                **given, num_beams=beams, num_return_sequences=beams, max_length=16
            )
            assert torch.equal(ids, tensors[name])


@pytest.mark.parametrize("folder", FOLDERS)
def test_saving_in_our_format_keeps_every_logit(folder, tmp_path):
    generator = Generator.from_pretrained(FIXTURES / folder)
    generator.save_pretrained(tmp_path / "ours", load_tokenizer(FIXTURES / folder))
    again = Generator.from_pretrained(tmp_path / "ours")
    assert dataclasses.replace(again.config, t5={}) == dataclasses.replace(generator.config, t5={})
    assert torch.equal(logits(again, folder), logits(generator, folder))


def test_lengths_and_embedders_come_with_the_checkpoint():
    inverter, stage2 = (
        Generator.from_pretrained(FIXTURES / name).config
        for name in ("vec2text_inverter", "nanov2t_stage2")
    )
    assert inverter.max_tokens == 15, "vec2text counts the closing token"
    assert (stage2.max_tokens, stage2.embedder) == (32, None), (
        "an embedder of a name that nobody published"
    )
    assert inverter.embedder.name.endswith("gtr-t5-base#mean") and not inverter.embedder.normalized
    assert (
        (inverter.hypothesizes, inverter.corrects)
        == (stage2.corrects, stage2.hypothesizes)
        == (True, False)
    )


def test_an_embedder_of_another_dimension_is_not_believed(tmp_path):
    """vec2text names its tokenizer's model, GTR, also where the vectors are an API's."""
    shutil.copytree(FIXTURES / "vec2text_inverter", tmp_path / "x")
    weights = load_file(tmp_path / "x" / "model.safetensors")
    weights["embedding_transform.0.weight"] = torch.zeros(32, 1536)
    save_file(weights, tmp_path / "x" / "model.safetensors")
    assert Generator.from_pretrained(tmp_path / "x").config.embedder is None
    values = json.loads((tmp_path / "x" / "config.json").read_text()) | {
        "embedder_model_api": "text-embedding-ada-002"
    }
    (tmp_path / "x" / "config.json").write_text(json.dumps(values))
    config = Generator.from_pretrained(tmp_path / "x").config
    assert (config.dim, config.projector_width) == (1536, 32)
    assert config.embedder.name == "openai:text-embedding-ada-002"


def test_convert_writes_a_pair_that_loads_as_one(tmp_path, mean):
    convert(FIXTURES / "vec2text_corrector", tmp_path / "pair", FIXTURES / "vec2text_inverter")
    inverter = load_inverter(tmp_path / "pair", embedder=mean, device="cpu")
    assert torch.equal(
        logits(inverter.hypothesizer, "vec2text_inverter"),
        logits(Generator.from_pretrained(FIXTURES / "vec2text_inverter"), "vec2text_inverter"),
    )
    assert torch.equal(
        logits(inverter.corrector, "vec2text_corrector"),
        logits(Generator.from_pretrained(FIXTURES / "vec2text_corrector"), "vec2text_corrector"),
    )
    convert(FIXTURES / "nanov2t_stage2", tmp_path / "single")
    assert Generator.from_pretrained(tmp_path / "single").config.corrects


def test_pairs_and_parts(mean):
    vectors = mean.encode(["the dog", "a cat sat"])
    corrector, hypothesizer = FIXTURES / "vec2text_corrector", FIXTURES / "vec2text_inverter"
    pair = load_inverter(corrector, hypothesizer, embedder=mean, device="cpu").invert(
        vectors, rounds=2, beam=2
    )
    first = load_inverter(hypothesizer, embedder=mean, device="cpu").invert(
        vectors, rounds=2, beam=2
    )
    assert [found.rounds[0].text for found in pair] == [found.rounds[0].text for found in first]
    assert all(len(found.rounds) == 1 for found in first) and any(
        len(found.rounds) > 1 for found in pair
    )
    alone = load_inverter(corrector, embedder=mean, device="cpu")
    assert [found.rounds[0].text for found in alone.invert(vectors, rounds=1, beam=2)] == ["", ""]
    given = alone.invert(vectors, rounds=1, beam=2, drafts=["the", "a"])
    assert [found.rounds[0].text for found in given] == ["the", "a"]


def test_training_runs_make_a_pair(tmp_path, mean):
    for run, folder in (("stage1", "vec2text_inverter"), ("stage2", "vec2text_corrector")):
        convert(FIXTURES / folder, tmp_path / run / "model")
    inverter = load_inverter(tmp_path / "stage2", tmp_path / "stage1", embedder=mean, device="cpu")
    assert inverter.hypothesizer.config.hypothesizes and inverter.corrector.config.corrects


def test_what_does_not_fit_is_refused(gtr, mean, tmp_path):
    corrector, hypothesizer = FIXTURES / "vec2text_corrector", FIXTURES / "vec2text_inverter"
    with pytest.raises(
        UserError, match=r"gtr-t5-base#mean with normalized False; .* has normalized True"
    ):
        load_inverter(corrector, hypothesizer, embedder=load_embedder(str(gtr), "cpu"))
    with pytest.raises(UserError, match=r"\(1, 24\).*\[n, 768\]"):
        load_inverter(corrector, embedder=mean, device="cpu").invert(np.ones((1, 24), np.float32))
    with pytest.raises(UserError, match=r"dimension 24.* has 768"):
        load_inverter(FIXTURES / "nanov2t_stage1", embedder=mean)
    with pytest.raises(UserError, match="does not say which embedder"):
        load_inverter(FIXTURES / "nanov2t_stage1")
    with pytest.raises(UserError, match="corrects nothing"):
        load_pair(hypothesizer, hypothesizer)
    with pytest.raises(UserError, match="only corrects"):
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


def test_mean_leaves_out_what_follows_the_pooling(gtr, mean):
    whole = load_embedder(str(gtr), "cpu")
    texts = ["the dog", "a cat sat on the mat"]
    pooled = SentenceTransformer(modules=list(whole.model)[:2], device="cpu").encode(texts)
    assert np.allclose(mean.encode(texts), pooled, atol=1e-6)
    assert (mean.normalized, whole.normalized, mean.name) == (False, True, f"{gtr}#mean")
    assert mean.info.fingerprint != whole.info.fingerprint


def test_the_tokenizer_of_the_t5_beside_serves_a_checkpoint_without_one(tmp_path):
    shutil.copytree(FIXTURES / "tiny_t5", tmp_path / "tiny_t5")
    shutil.copytree(
        FIXTURES / "vec2text_inverter", tmp_path / "bare", ignore=shutil.ignore_patterns("*token*")
    )
    assert (
        load_tokenizer(tmp_path / "bare").get_vocab()
        == load_tokenizer(tmp_path / "tiny_t5").get_vocab()
    )
    shutil.rmtree(tmp_path / "tiny_t5")
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path / "bare")


class Evil:
    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_read_only_if_it_holds_nothing_but_weights(tmp_path):
    folder = "vec2text_corrector"
    shutil.copytree(
        FIXTURES / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.safetensors")
    )
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        Generator.from_pretrained(tmp_path / folder)
    torch.save(
        load_file(FIXTURES / folder / "model.safetensors"), tmp_path / folder / "pytorch_model.bin"
    )
    assert torch.equal(
        logits(Generator.from_pretrained(tmp_path / folder), folder),
        logits(Generator.from_pretrained(FIXTURES / folder), folder),
    )
    (tmp_path / folder / "pytorch_model.bin").write_bytes(
        pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol=2)
    )
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        Generator.from_pretrained(tmp_path / folder)
    torch.save({"x": Evil(tmp_path / "ran")}, tmp_path / folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: holds more than weights.*not read"):
        Generator.from_pretrained(tmp_path / folder)
    assert not (tmp_path / "ran").exists()


def test_damage_is_named(tmp_path):
    shutil.copytree(FIXTURES / "vec2text_inverter", tmp_path / "x")
    (tmp_path / "x" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        Generator.from_pretrained(tmp_path / "x")
    weights = load_file(FIXTURES / "vec2text_inverter" / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "transform.0" not in k},
        tmp_path / "x" / "model.safetensors",
    )
    with pytest.raises(UserError, match=r"target_projector\.0\.weight' is missing"):
        Generator.from_pretrained(tmp_path / "x")


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_sizes_of_any_t5_are_read_off_its_weights(kind, tmp_path):
    """A T5 of the later build, its output words apart, and one whose words lie under another of
    their names."""
    torch.manual_seed(0)
    later = (
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        if kind == "untied"
        else {}
    )
    t5 = T5ForConditionalGeneration(
        T5Config(
            vocab_size=50,
            d_model=16,
            d_kv=4,
            num_heads=3,
            d_ff=20,
            num_layers=3,
            decoder_start_token_id=0,
            **later,
        )
    )
    t5.eval()
    weights = {
        f"encoder_decoder.{name}": weight.clone() for name, weight in t5.state_dict().items()
    }
    if kind == "untied":
        t5.lm_head.weight = nn.Parameter(torch.randn(50, 16))
        weights["encoder_decoder.lm_head.weight"] = t5.lm_head.weight.data.clone()
    else:
        del weights["encoder_decoder.shared.weight"], weights["encoder_decoder.lm_head.weight"]
    project = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0), nn.GELU(), nn.Linear(6, 32))
    weights |= {
        f"embedding_transform.{name}": weight.clone()
        for name, weight in project.state_dict().items()
    }
    weights["embedder.anything"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["InversionModel"], "max_seq_length": 32})
    )
    vectors, labels = torch.randn(2, 6), torch.tensor([[5, 6, 1], [7, 1, -100]])
    with torch.inference_mode():
        theirs = t5(inputs_embeds=project(vectors).view(2, 2, 16), labels=labels)
        ours = Generator.from_pretrained(tmp_path)(vectors, labels=labels)
    assert torch.allclose(ours.logits, theirs.logits, atol=1e-5) and torch.allclose(
        ours.loss, theirs.loss
    )


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
from nanov2t.load import convert, load_pair
inverter = load_inverter("gtr-nq32", device="cpu")
[found] = inverter.invert(inverter.embedder.encode(["the dog"]), rounds=1, beam=2)
for name in ("gtr-st-nq32", "gtr-st-nq32-ielab", "ada-002"):
    convert(name, Path("out") / name)
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
