"""The published formats: the fixtures hold what their own code gave for them."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import FIXTURES, logits, recorded
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from nanov2t.t5.checkpoints import load_tokenizer
from nanov2t.t5.generator import Generator

FOLDERS = ["nanov2t_stage1", "nanov2t_stage2", "vec2text_inverter", "vec2text_corrector"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_outputs_are_those_of_the_original_code(folder):
    generator = Generator.from_pretrained(FIXTURES / folder)
    inputs, tensors = recorded(folder)
    with torch.inference_mode():
        loss, scores = generator(**inputs, labels=tensors["labels"])
    assert torch.allclose(scores, tensors["logits"], atol=1e-4, rtol=0)
    assert abs(float(loss) - float(tensors["loss"])) < 1e-4
    for beams in (1, 4):
        if (name := f"generated_beams{beams}") in tensors:
            ids = generator.generate(
                **inputs, num_beams=beams, num_return_sequences=beams, max_length=16
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
