import json
import signal
import time

import pytest
import torch
import yaml
from processes import nanov2t, start
from support import HERE, TINY, Stop, same, tiny_config, weights

from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.models.generator import Generator
from nanov2t.train.inversion import train
from nanov2t.train.loop import rate


@pytest.mark.parametrize("share", [0, 0.5])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, share):
    """Dropout is on and pools of drafts outlast the stop, so the random state and the pool must
    survive too."""

    def config(name):
        config = tiny_config(tmp_path / name, share)
        config.model.dropout = 0.1
        return config

    train(config("whole"))
    stopped = config("parts")
    stopped.save_every = 1
    run = Stop(stopped, after=3)
    with pytest.raises(Stop.Now):
        run()
    assert not (stopped.out / "model").exists()
    train(stopped)
    assert same(weights(tmp_path / "whole"), weights(stopped.out))
    lines = (stopped.out / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps)
    figures = json.loads(lines[-1])
    if share:
        both = [figures[f"dev_loss_round{r}"] for r in (0, 1)]
        assert figures["dev_loss"] == pytest.approx(sum(both) / 2) and both[0] != both[1]
    else:
        assert 0 < figures["dev_loss"] < 12


def test_a_run_stopped_before_its_first_step_goes_on_like_any_other(tmp_path):
    train(tiny_config(tmp_path / "whole", share=0))
    config = tiny_config(tmp_path / "parts", share=0, budget="0s")
    train(config)
    assert (config.out / "checkpoint-00000000").is_dir()
    config.budget = ""
    train(config)
    assert same(weights(tmp_path / "whole"), weights(config.out))


def test_killed_with_9_and_started_again(tmp_path):
    """The same command line, killed at some moment of its run, ends with the weights of a run never
    killed."""
    recipe = {
        "data": {
            "train": str(HERE / "passages.txt"),
            "dev": str(HERE / "passages.txt"),
            "cache": str(tmp_path / "c"),
        },
        "model": TINY,
        "drafts": {"share": 0.5, "pool": 16},
        "optim": {"batch": 8, "micro_batch": 4, "epochs": 0.6},
        "eval_limit": 2,
        "save_every": 1,
        "precision": "fp32",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def run(name):
        args = ("train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / name))
        return start(tmp_path / "said", nanov2t, *args)

    def end(process):
        process.join()
        return process.exitcode

    assert end(run("whole")) == 0
    process = run("killed")
    while not list((tmp_path / "killed").glob("checkpoint-*")):
        assert process.exitcode is None
        time.sleep(0.05)
    process.kill()
    assert end(process) == -signal.SIGKILL
    assert end(run("killed")) == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_two_sentences_are_learnt_and_recovered_exactly(tmp_path):
    """End to end: text, vectors, training, checkpoint, search."""
    texts = [
        "the old ferry crossed the bay twice a day.",
        "salt was once carried over this pass by mules.",
    ]
    (tmp_path / "two.txt").write_text("\n".join(texts))
    config = tiny_config(tmp_path / "run", share=0.5)
    config.data.train = config.data.dev = str(tmp_path / "two.txt")
    config.data.crop, config.data.held_out = "start", 0.0
    config.optim.batch, config.optim.epochs, config.optim.lr, config.eval_every = (
        4,
        60,
        5e-3,
        10_000,
    )
    inverter = load_inverter(train(config))
    for found, text in zip(
        inverter.invert(inverter.embedder.encode(texts), rounds=2, beam=2), texts, strict=True
    ):
        assert found.text == text and found.stopped == "exact" and found.cosine > 1 - 1e-5


def test_a_hypothesizer_and_then_a_corrector(tmp_path):
    """The seed's two stages: stage 2 learns from stage 1's drafts, and the pair inverts."""
    first = train(tiny_config(tmp_path / "stage1", share=0))
    config = tiny_config(tmp_path / "stage2", share=1)
    config.drafts.hypothesizer = str(first)
    second = train(config)
    lines = (config.out / "metrics.jsonl").read_text().splitlines()
    assert 0 < json.loads(lines[-1])["dev_loss"] < 12
    assert not Generator.from_pretrained(first).config.corrects
    assert not Generator.from_pretrained(second).config.hypothesizes
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "hypothesizer").symlink_to(first)
    (tmp_path / "pair" / "corrector").symlink_to(second)
    inverter = load_inverter(tmp_path / "pair")
    assert inverter.hypothesizer is not inverter.corrector
    assert (
        len(inverter.invert(inverter.embedder.encode(["a word"]), rounds=1, beam=2)[0].rounds) == 2
    )


def test_a_joint_run_starts_from_a_hypothesizer(tmp_path):
    first = train(tiny_config(tmp_path / "first", share=0))
    config = tiny_config(tmp_path / "joint", share=0.5)
    config.init, config.optim.epochs = str(first), 0.0
    joint = Generator.from_pretrained(train(config))
    assert joint.config.hypothesizes and joint.config.corrects
    before = Generator.from_pretrained(first)
    ids = torch.randint(1000, 9000, (2, 5))
    for model in (joint, before):
        # What was learnt stays: the first rate of the warm-up is zero, so the one step moved
        # nothing.
        assert torch.equal(
            model(torch.eye(384)[:2], labels=ids).logits,
            before(torch.eye(384)[:2], labels=ids).logits,
        )


def test_the_budget_ends_a_run_cleanly(tmp_path):
    config = tiny_config(tmp_path / "run", share=0, budget="2s")
    config.optim.epochs = 1e6
    began = time.monotonic()
    model = train(config)
    assert time.monotonic() - began < 60
    assert load_inverter(model)


def test_a_run_folder_keeps_its_settings(tmp_path):
    train(tiny_config(tmp_path / "run", share=0))
    other = tiny_config(tmp_path / "run", share=0)
    other.optim.lr = 5e-4
    with pytest.raises(UserError, match=r"optim\.lr \(0.001, not 0.0005\)"):
        train(other)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path):
    config = tiny_config(tmp_path / "run", share=0)
    train(config)
    [checkpoint] = config.out.glob("checkpoint-*")
    path = checkpoint / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=f"{checkpoint.name}: damaged"):
        train(config)


def test_the_rate_warms_up_and_decays():
    config = tiny_config()
    config.optim.warmup = 0.1
    assert [rate(config.optim, x, x) for x in (0, 0.05, 0.1, 1)] == pytest.approx([0, 0.5, 1, 1])
    config.optim.decay = "linear"
    assert [rate(config.optim, x, x) for x in (0.05, 0.1, 0.55, 1)] == pytest.approx(
        [0.5, 1, 0.5, 0]
    )
