import copy
import json
from collections import defaultdict

import pytest
import torch
from torch.nn import functional as F

from nanov2t.core.errors import UserError
from nanov2t.fast import PackedWords, packed, padded_rows
from nanov2t.load import load_inverter
from nanov2t.t5.checkpoints import GeneratorConfig
from nanov2t.t5.generator import Generator

INPUTS = ("target_embeddings", "draft_embeddings", "draft_input_ids", "draft_attention_mask")


def texts(n: int, t: int = 9, vocabulary: int = 30522) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    labels = torch.randint(1000, vocabulary, (n, t), generator=generator)
    labels[0, 5:] = -100
    labels[1, 2] = labels[1, 4]
    return labels


def vectors(n: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, 384, generator=torch.Generator().manual_seed(n)), dim=-1)


def by_transformers(generator: Generator) -> Generator:
    """The same generator on the plain path, whose weights stay shared."""
    plain = copy.copy(generator)
    plain.fast = False
    return plain


@pytest.mark.parametrize("beams", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [3, 20])
@torch.inference_mode()
def test_generate_equals_transformers(tiny, beams, length):
    generator, target = tiny.corrector, vectors(5)
    draft, ids = vectors(6)[:5], texts(5).clamp(min=0)
    for given in ((target,), (target, draft, ids, (ids > 0).long())):
        options = {"num_beams": beams, "num_return_sequences": beams, "max_length": length}
        theirs = by_transformers(generator).generate(*given, **options)
        assert torch.equal(generator.generate(*given, **options), theirs)


@pytest.mark.parametrize("beams", [1, 4])
@torch.inference_mode()
def test_texts_that_end_early_are_those_of_transformers(tiny, minilm, passages, beams):
    generator = copy.deepcopy(tiny.corrector)
    target = torch.from_numpy(minilm.encode([passage[:40] for passage in passages]))
    firsts = defaultdict(set)  # the word that comes first at the most places closes the texts
    for row in generator.generate(target, max_length=34)[:, 1:].tolist():
        for word in set(row) - {0}:
            firsts[word].add(row.index(word))
    closing = max(firsts, key=lambda word: len(firsts[word]))
    generator.t5.config.eos_token_id = generator.t5.generation_config.eos_token_id = closing
    options = {"num_beams": beams, "num_return_sequences": beams, "max_length": 34}
    theirs = by_transformers(generator).generate(target, **options)
    assert len(set((theirs != 0).sum(1).tolist())) > 2  # they end at several lengths
    assert torch.equal(generator.generate(target, **options), theirs)
    assert torch.equal(packed(generator).generate(target, **options), theirs)


def test_a_search_by_the_plain_path_finds_the_same(tiny, minilm, passages, tmp_path, monkeypatch):
    monkeypatch.setattr("nanov2t.t5.inference.search_dtype", lambda device: torch.float32)
    tiny.corrector.save_pretrained(tmp_path / "tiny", tiny.tokenizer)
    target = minilm.encode([passages[0][:40], passages[1][:40]])
    fast, plain = (
        load_inverter(tmp_path / "tiny", device="cpu", fast=fast) for fast in (True, False)
    )
    assert fast.corrector.fast and not plain.corrector.fast
    found = [inverter.invert(target, rounds=2, beam=3) for inverter in (fast, plain)]
    ours, theirs = ([[r.text for r in f.rounds] for f in inversions] for inversions in found)
    assert ours == theirs


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="nothing is packed without oneDNN"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 8, 33, 257])
def test_a_packed_layer_does_not_depend_on_the_batch(rows, dtype):
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("nothing is packed in bfloat16 here")
    weight, states = torch.randn(5000, 384, dtype=dtype), torch.randn(300, 384, dtype=dtype)
    words = PackedWords(weight)
    assert torch.equal(words(states[:rows]), words(states)[:rows])
    torch.testing.assert_close(words(states), states @ weight.T, atol=1e-4, rtol=0.02)


def test_few_numbers_of_rows_are_multiplied():
    rows = range(1, 4097)
    assert all(n <= padded_rows(n) <= max(n + 7, n * 9 / 8) for n in rows)
    assert len({padded_rows(n) for n in rows}) <= 96


@torch.inference_mode()
def test_cached_steps_equal_the_whole_text_at_once(tiny):
    ids = tiny.hypothesizer.generate(vectors(4), max_length=12)
    logits = tiny.hypothesizer(vectors(4), labels=ids[:, 1:]).logits
    assert torch.equal(logits.argmax(-1), ids[:, 1:])


def test_loss_without_logits_equals_the_loss_with_them(tiny):
    generator, results = tiny.corrector, []
    for keep in (True, False):
        generator.zero_grad()
        output = generator(vectors(5), labels=texts(5), keep_logits=keep)
        output.loss.backward()
        assert (output.logits is None) is not keep
        results.append(
            (
                output.loss.item(),
                {n: p.grad.clone() for n, p in generator.named_parameters() if p.grad is not None},
            )
        )
    (loss, grads), (other_loss, other_grads) = results
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert grads.keys() == other_grads.keys()
    for name in grads:
        assert (grads[name] - other_grads[name]).norm() <= 1e-4 * grads[name].norm() + 1e-8, name
    generator.zero_grad()


def test_masked_draft_tokens_do_not_count(tiny):
    generator, labels = tiny.corrector, texts(3)
    ids = texts(3, 6).clamp(min=0)
    short = generator(vectors(3), vectors(3), ids, torch.ones_like(ids), labels).logits
    padded = torch.cat([ids, torch.full((3, 4), 77)], 1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(3, 4, dtype=torch.long)], 1)
    assert torch.allclose(
        short, generator(vectors(3), vectors(3), padded, mask, labels).logits, atol=1e-4
    )


def test_initial_std_of_the_projectors(tiny):
    """A T5's own initialisation, eight times as wide, must not reach them (uniform in 1/sqrt(n):
    std 1/sqrt(3n))."""
    for projector in (
        tiny.corrector.target_projector,
        tiny.corrector.draft_projector,
        tiny.corrector.difference_projector,
    ):
        for layer in (projector[0], projector[3]):
            assert layer.weight.std().item() == pytest.approx(
                (3 * layer.in_features) ** -0.5, rel=0.1
            )


@pytest.mark.parametrize("int8", [False, True])
def test_save_and_load(tiny, tmp_path, int8):
    tiny.corrector.save_pretrained(tmp_path / "model", tiny.tokenizer, int8=int8)
    loaded = Generator.from_pretrained(tmp_path / "model")
    assert loaded.config == tiny.corrector.config
    for (name, ours), theirs in zip(
        loaded.state_dict().items(), tiny.corrector.state_dict().values(), strict=True
    ):
        assert (ours - theirs).norm() <= (0.02 * theirs.norm() if int8 else 0), name
    assert loaded.t5.shared.weight is loaded.t5.lm_head.weight
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_untied_words_survive(tiny, tmp_path):
    """T5 v1.1 and flan have output words of their own."""
    tiny.corrector.save_pretrained(tmp_path / "tied", tiny.tokenizer)
    generator = Generator.from_pretrained(tmp_path / "tied")
    generator.t5.config.scale_decoder_outputs = False
    generator.config.t5["scale_decoder_outputs"] = False
    generator.t5.lm_head.weight = torch.nn.Parameter(torch.randn_like(generator.t5.shared.weight))
    generator.save_pretrained(tmp_path / "untied", tiny.tokenizer)
    loaded = Generator.from_pretrained(tmp_path / "untied")
    assert torch.equal(
        generator(vectors(2), labels=texts(2)).logits, loaded(vectors(2), labels=texts(2)).logits
    )


@pytest.mark.parametrize("damage", ["truncate", "remove", "config", "shape"])
def test_damaged_folders_are_refused(tiny, tmp_path, damage):
    tiny.corrector.save_pretrained(tmp_path / "model", tiny.tokenizer)
    weights = tmp_path / "model" / "model.safetensors"
    config = tmp_path / "model" / "config.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "remove":
        weights.unlink()
    elif damage == "config":
        config.write_text("{")
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dim": 385}))
    with pytest.raises(UserError, match="model"):
        Generator.from_pretrained(tmp_path / "model")


def test_a_failed_save_leaves_the_old_one(tiny, tmp_path):
    class Broken:
        def save_pretrained(self, path):
            raise OSError(28, "No space left on device")

    tiny.corrector.save_pretrained(tmp_path / "model", tiny.tokenizer)
    with pytest.raises(UserError, match="No space left"):
        tiny.corrector.save_pretrained(tmp_path / "model", Broken())
    assert Generator.from_pretrained(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_drafts_go_to_correctors_only(tiny):
    config = tiny.corrector.config
    hypothesizer = Generator(GeneratorConfig(t5=config.t5, dim=384))
    corrector = Generator(GeneratorConfig(t5=config.t5, dim=384, hypothesizes=False, corrects=True))
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="takes no draft"):
        hypothesizer(vectors(2), vectors(2), ids, ids, texts(2))
    with pytest.raises(ValueError, match="give it a draft"):
        corrector(vectors(2), labels=texts(2))
