"""Noise on the vectors of a training, and correctors without feedback."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from support import HERE, tiny_config

from nanov2t.core.errors import UserError
from nanov2t.models.generator import Generator
from nanov2t.train.build import build_generator
from nanov2t.train.config import DataConfig, TrainConfig
from nanov2t.train.data import Corpus, Embed
from nanov2t.train.drafts import DraftPool
from nanov2t.train.examples import Examples


def examples(minilm, tmp_path, noise, process=0, processes=1):
    config = tiny_config(tmp_path)
    config.data.noise = noise
    device = torch.device("cpu")
    of = SimpleNamespace(process_index=process, num_processes=processes, device=device)
    corpus = Corpus.load(config.data.train, minilm.tokenizer, tmp_path)
    embed = Embed(minilm, minilm.tokenizer)
    return Examples(config, corpus, minilm.tokenizer, embed, of), config


def test_noise_has_its_size_and_depends_on_the_step_alone(minilm, tmp_path):
    clean, _ = examples(minilm, tmp_path, 0.0)
    noisy, _ = examples(minilm, tmp_path, 0.01)
    for part in ("hypothesizer", "corrector"):
        vectors, truth = (e.batch(part, 3).vectors for e in (noisy, clean))
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
        # Behind the scaling to unit length: 384 numbers of 0.01 make a length of 0.196.
        grown = vectors / (vectors * truth).sum(1, keepdim=True) - truth
        assert float(grown.norm(dim=1).mean()) == pytest.approx(0.196, rel=0.1)
        again = examples(minilm, tmp_path, 0.01)[0].batch(part, 3).vectors
        assert torch.equal(vectors, again)
    apart = [examples(minilm, tmp_path, 0.01, i, 2)[0] for i in (0, 1)]
    shares = [e.batch("corrector", 3, e.mine).vectors for e in apart]
    together = noisy.batch("corrector", 3).vectors
    assert torch.allclose(together[0::2], shares[0]) and torch.allclose(together[1::2], shares[1])
    first, second = (
        noisy.with_noise(torch.zeros(4, 384), "drafts", s, 4, slice(4)) for s in (0, 1)
    )
    assert not torch.allclose(first, second)


def test_drafts_get_noise_of_their_own(minilm, tmp_path, tiny):
    pools = {}
    for noise in (0.0, 0.01):
        given, config = examples(minilm, tmp_path, noise)
        config.drafts.rounds = 1
        pool = DraftPool(config, given, tiny.corrector.eos_token_id, None, given.accelerator)
        pools[noise] = pool.at(0, lambda: tiny.corrector)
    noisy = pools[0.01]
    own = minilm.encode_ids(
        noisy["draft_ids"] * (noisy["draft_ids"] != tiny.corrector.eos_token_id),
        noisy["draft_mask"] * (noisy["draft_ids"] != tiny.corrector.eos_token_id),
    )
    lengths = (noisy["draft_vectors"] * own).sum(1)
    assert lengths.max() < 0.995 and lengths.min() > 0.95
    assert not torch.allclose(noisy["vectors"], pools[0.0]["vectors"])


def test_without_feedback_the_vector_of_a_draft_says_nothing(minilm, tmp_path):
    ids, vectors = torch.tensor([[2000, 2001, 102]]), torch.eye(384)
    for feedback in (True, False):
        config = tiny_config(share=1)
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


def test_negative_noise_is_refused():
    with pytest.raises(UserError, match=r"data\.noise must be at least 0"):
        TrainConfig(data=DataConfig(noise=-1))


def test_a_published_corrector_without_feedback_stays_one(tmp_path):
    folder = shutil.copytree(HERE / "fixtures" / "vec2text_corrector", tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    assert Generator.from_pretrained(folder).config.feedback
    config["corrector_ignore_hypothesis_embedding"] = True
    (folder / "config.json").write_text(json.dumps(config))
    assert not Generator.from_pretrained(folder).config.feedback
