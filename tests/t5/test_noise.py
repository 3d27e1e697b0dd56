"""Noise on the vectors of a training, and correctors without feedback."""

import json
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from support import HERE, tiny_config

from nanov2t.t5.generator import Generator
from nanov2t.t5.stages import DRAFTS, TEXTS, T5Task, build_generator


def task(minilm, tmp_path, noise, process=0, processes=1):
    config = tiny_config(tmp_path)
    config.data.noise, config.optim.batch, config.optim.micro_batch = noise, 8, 8
    of = SimpleNamespace(
        process_index=process,
        num_processes=processes,
        device=torch.device("cpu"),
        main_process_first=nullcontext,
    )
    generator = SimpleNamespace(eos_token_id=102)
    return T5Task(config, generator, minilm.tokenizer, minilm, of)


def test_noise_has_its_size_and_depends_on_the_step_alone(minilm, tmp_path):
    clean, noisy = (task(minilm, tmp_path, noise) for noise in (0.0, 0.01))
    vectors, truth = (t.batch(3, 0)["target_embeddings"] for t in (noisy, clean))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    # Behind the scaling to unit length: 384 numbers of 0.01 make a length of 0.196.
    grown = vectors / (vectors * truth).sum(1, keepdim=True) - truth
    assert float(grown.norm(dim=1).mean()) == pytest.approx(0.196, rel=0.1)
    assert torch.equal(vectors, task(minilm, tmp_path, 0.01).batch(3, 0)["target_embeddings"])
    for i in (0, 1):
        share = task(minilm, tmp_path, 0.01, i, 2).batch(3, 0)["target_embeddings"]
        assert torch.allclose(vectors[i::2], share)
    zero = torch.zeros(8, 384)
    first, second = (noisy.noisy(zero, TEXTS, step, 0) for step in (0, 1))
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, noisy.noisy(zero, DRAFTS, 0, 0))


def test_without_feedback_the_vector_of_a_draft_says_nothing(minilm, tmp_path):
    ids, vectors = torch.tensor([[2000, 2001, 102]]), torch.eye(384)
    for feedback in (True, False):
        config = tiny_config(hypothesizer="none")
        config.drafts.feedback = feedback
        generator, tokenizer = build_generator(config, minilm)
        generator.eval().save_pretrained(tmp_path / "model", tokenizer)
        generator = Generator.from_pretrained(tmp_path / "model")
        with torch.no_grad():
            one, other = (
                generator(vectors[:1], draft, ids, ids * 0 + 1, ids).logits
                for draft in (vectors[1:2], vectors[2:3])
            )
        assert torch.equal(one, other) != feedback


def test_a_published_corrector_without_feedback_stays_one(tmp_path):
    folder = shutil.copytree(HERE / "fixtures" / "vec2text_corrector", tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    assert Generator.from_pretrained(folder).config.feedback
    config["corrector_ignore_hypothesis_embedding"] = True
    (folder / "config.json").write_text(json.dumps(config))
    assert not Generator.from_pretrained(folder).config.feedback
