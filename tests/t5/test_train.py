import json
import signal
import time

import pytest
import yaml
from processes import nanov2t, start
from support import HERE, TINY, Stop, same, tiny_config, weights

from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.recipes import train
from nanov2t.t5.generator import Generator
from nanov2t.train.config import DraftConfig, T5Data, T5Recipe
from nanov2t.train.loop import rate


@pytest.mark.parametrize("stage", [1, 2])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, tiny, stage):
    """Dropout is on, so the random state must survive too."""
    first = str(tmp_path / "first") if stage == 2 else ""
    tiny.hypothesizer.save_pretrained(tmp_path / "first", tiny.tokenizer)

    def config(name):
        config = tiny_config(tmp_path / name, first)
        config.model.dropout, config.data.max_tokens = 0.1, 8
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
    assert 0 < figures["dev_loss"] < 12 and -1 <= figures["dev_cosine"] <= 1
    assert ("dev_token_f1_round0" in figures) == (stage == 2)


def test_a_run_stopped_before_its_first_step_goes_on_like_any_other(tmp_path):
    train(tiny_config(tmp_path / "whole"))
    config = tiny_config(tmp_path / "parts", budget="0s")
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


def test_two_sentences_are_learnt_in_two_stages_and_recovered_exactly(tmp_path):
    """End to end: text, vectors, both stages, checkpoints, search."""
    texts = [
        "the old ferry crossed the bay twice a day.",
        "salt was once carried over this pass by mules.",
    ]
    (tmp_path / "two.txt").write_text("\n".join(texts))

    def config(name, first=""):
        config = tiny_config(tmp_path / name, first, eval_every=10_000)
        config.data.train = config.data.dev = str(tmp_path / "two.txt")
        config.optim.batch, config.optim.epochs, config.optim.lr = 4, 100, 5e-3
        return config

    first = train(config("stage1"))
    second = train(config("stage2", str(tmp_path / "stage1")))
    assert not Generator.from_pretrained(first).config.corrects
    assert not Generator.from_pretrained(second).config.hypothesizes
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "hypothesizer").symlink_to(first)
    (tmp_path / "pair" / "corrector").symlink_to(second)
    for inverter in (load_inverter(first), load_inverter(tmp_path / "pair")):
        found = inverter.invert(inverter.embedder.encode(texts), rounds=2, beam=2)
        assert [f.text for f in found] == texts
        assert {f.stopped for f in found} == {"exact"}
    assert inverter.hypothesizer is not inverter.corrector


def test_a_run_starts_from_another_generator(tmp_path):
    first = tiny_config(tmp_path / "first")
    train(first)
    config = tiny_config(tmp_path / "second")
    config.init, config.optim.epochs = str(first.out), 0.0
    after = Generator.from_pretrained(train(config))
    # The first rate of the warm-up is zero, so the one step moves nothing.
    assert same(after.state_dict(), Generator.from_pretrained(first.out / "model").state_dict())


@pytest.mark.parametrize(
    ("drafts", "data", "said"),
    [
        ({"share": 2}, {}, "drafts.share must be 0"),
        ({"share": 1}, {}, "drafts.share=1 needs drafts.hypothesizer or drafts.files"),
        ({"share": 1, "files": "x"}, {}, "drafts.share=1 needs data.crop=start"),
        ({}, {"noise": -1}, "data.noise must be at least 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(drafts, data, said):
    with pytest.raises(UserError, match=said):
        T5Recipe(drafts=DraftConfig(**drafts), data=T5Data(**data))


def test_the_budget_ends_a_run_cleanly(tmp_path):
    config = tiny_config(tmp_path / "run", budget="2s")
    config.optim.epochs = 1e6
    began = time.monotonic()
    model = train(config)
    assert time.monotonic() - began < 60
    assert load_inverter(model)


def test_a_run_folder_keeps_its_settings(tmp_path):
    train(tiny_config(tmp_path / "run"))
    other = tiny_config(tmp_path / "run")
    other.optim.lr = 5e-4
    with pytest.raises(UserError, match=r"optim\.lr \(0.001, not 0.0005\)"):
        train(other)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path):
    config = tiny_config(tmp_path / "run")
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
