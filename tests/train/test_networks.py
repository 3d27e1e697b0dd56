"""Prefix language models and edit networks, trained on a tiny BERT."""

import json

import numpy as np
import pytest
import torch
from support import HERE, Stop, same, weights

from nanov2t import recipes
from nanov2t.cli.main import Export, train
from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.models.edit_network import EditNetwork
from nanov2t.models.networks import load_network, read_network
from nanov2t.models.prefix_lm import PrefixLM
from nanov2t.search.options import Budget
from nanov2t.train import editing
from nanov2t.train.config import (
    EditDrafts,
    EditRecipe,
    NetworkSteps,
    PrefixRecipe,
    TextConfig,
)
from nanov2t.train.editing import LONGER, EditTask, draw
from nanov2t.train.loop import evaluate, start
from nanov2t.train.network import build_network
from nanov2t.train.prefix import PrefixLoss, PrefixTask

PASSAGES = str(HERE / "passages.txt")


@pytest.fixture
def config(bert_folder, inverter_folder, tmp_path):
    """Makes the settings of a small run of a kind of network."""

    def make(kind, name, **steps):
        cache = inverter_folder.parent / "tokens"
        data = TextConfig(train=PASSAGES, dev=PASSAGES, cache=cache, max_tokens=12, lengths=[8, 12])
        return kind(
            out=tmp_path / name,
            embedder=str(bert_folder),
            dictionary=str(inverter_folder),
            data=data,
            optim=NetworkSteps(**{"tokens": 200, "steps": 8, "lr": 2e-3} | steps),
            precision="fp32",
            eval_limit=8,
        )

    return make


@pytest.fixture(scope="module")
def hypothesizer(bert_folder, inverter_folder, tmp_path_factory):
    """A prefix language model of a few steps."""
    folder = tmp_path_factory.mktemp("hypothesizer")
    text = TextConfig(train=PASSAGES, dev=PASSAGES, cache=folder, max_tokens=12, lengths=[12])
    return recipes.train(
        PrefixRecipe(
            out=folder / "run",
            embedder=str(bert_folder),
            dictionary=str(inverter_folder),
            data=text,
            optim=NetworkSteps(tokens=200, steps=4),
            precision="fp32",
            eval_limit=2,
        )
    )


def records(out, key):
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record[key] for record in map(json.loads, lines) if key in record]


@pytest.mark.parametrize("kind", [PrefixRecipe, EditRecipe])
def test_killed_and_resumed_equals_undisturbed(config, hypothesizer, kind):
    """Killed in the midst of several steps on the same texts, of which the drafts must be kept."""
    runs = [config(kind, name) for name in ("whole", "parts")]
    if kind is EditRecipe:
        for run in runs:
            run.drafts = EditDrafts(str(hypothesizer), share=0.5, going_on=1.0, rounds=3)
    recipes.train(runs[0])
    runs[1].save_every = 1
    stop = Stop(runs[1], after=4)
    with pytest.raises(Stop.Now):
        stop()
    assert not (runs[1].out / "model").exists()
    recipes.train(runs[1])
    assert same(weights(runs[0].out), weights(runs[1].out))


@pytest.mark.parametrize(
    ("kind", "figure"), [(PrefixRecipe, "dev_nats_8"), (EditRecipe, "dev_nats_place")]
)
def test_they_learn(config, hypothesizer, kind, figure):
    run = config(kind, "run", tokens=1000, steps=60, lr=3e-3)
    run.eval_every = 20
    if kind is EditRecipe:
        run.drafts.hypothesizer = str(hypothesizer)
    recipes.train(run)
    first, *_, last = records(run.out, figure)
    assert last < 0.93 * first
    assert records(run.out, "examples")[-1] > 60 * 1000 / 30


def first_input(task):
    """What a task gives its model in the first step."""

    class Caught(Exception):
        pass

    def model(*given, **named):
        raise Caught(dict(zip(("targets", "drafts"), given, strict=False)) | named)

    with pytest.raises(Caught) as caught:
        task.step(model, 0, 0)
    return caught.value.args[0]


@pytest.mark.parametrize(("kind", "task"), [(PrefixRecipe, PrefixTask), (EditRecipe, EditTask)])
def test_noise_is_on_the_vectors_of_texts_alone(config, embedder, studied, kind, task):
    given = []
    for noise in (0.0, 0.05):
        run = config(kind, "run")
        run.data.noise = noise
        begun = task(run, (embedder, studied.dictionary), start(run))
        given.append(first_input(begun))
    clean, noisy = given
    cosines = (clean["targets"] * noisy["targets"]).sum(1)
    # 64 numbers of 0.05 make a length of 0.4, in unit vectors a cosine of 1 / (1 + 0.4^2)^0.5.
    assert float(cosines.mean()) == pytest.approx(0.928, abs=0.02)
    assert torch.allclose(noisy["targets"].norm(dim=1), torch.ones(len(cosines)), atol=1e-5)
    if task is EditTask:
        assert torch.equal(clean["drafts"].vectors, noisy["drafts"].vectors)


def test_a_prefix_model_may_learn_from_changed_vectors(config, embedder, studied):
    run = config(PrefixRecipe, "run")
    given, figures = [], []
    for change in (None, lambda vectors: -vectors):
        accelerator = start(run)
        task = PrefixTask(run, (embedder, studied.dictionary), accelerator)
        task.change = change
        given.append(first_input(task)["targets"])
        network = build_network("prefix_lm", run, (embedder, studied.dictionary))
        model = PrefixLoss(network, studied.dictionary.log_frequency)
        figures.append(evaluate(task, model)["loss"])
    assert torch.equal(given[0], -given[1]) and figures[0] != figures[1]


def test_they_go_on_from_a_network_also_a_shipped_one(config, hypothesizer, embedder, studied):
    run = config(PrefixRecipe, "run", lr=0.0)
    Export(str(hypothesizer), run.out.with_name("shipped")).run()
    run.init = str(run.out.with_name("shipped"))
    went_on = read_network(recipes.train(run))
    before = load_network(run.out.with_name("shipped"), embedder, studied.dictionary)
    assert same(went_on.state_dict(), before.state_dict())


def test_hypotheses_are_the_likeliest_texts_without_noise_and_others_with_it(
    bundled, minilm, monkeypatch
):
    texts = ["the old ferry crossed the bay", "we met at noon", "rivers in the north of italy"]
    targets = torch.from_numpy(minilm.encode(texts))
    model, lengths = bundled.hypothesizer, [6, 4, 6]
    given = model, targets, [[0] * n for n in lengths], 6
    drawn = draw(*given, [np.random.default_rng(i) for i in range(3)])
    monkeypatch.setattr(editing, "HOTTEST", 0)
    greedy = draw(*given, [np.random.default_rng(i) for i in range(3)])
    best = [found[0] for found in (model.generate(target, 1, 20) for target in targets)]
    for ours, theirs, length in zip(greedy, best, lengths, strict=True):
        # Whether more words follow is a matter of rounding, which machines differ in.
        n = max(length, min(len(ours), len(theirs)))
        assert ours[:n] == theirs[:n]
    assert drawn != greedy
    assert all(0 < len(row) <= n + LONGER for row, n in zip(drawn, lengths, strict=True))


def test_the_whole_path_by_commands(bert_folder, inverter_folder, tmp_path, embedder):
    """Study, train both networks by recipes, export: an inverter in one folder."""
    (inverter_folder / "dictionary").rename(tmp_path / "dictionary")
    try:
        for part, network in (("hypothesizer", "prefix_lm"), ("corrector", "edit_network")):
            recipe = tmp_path / f"{part}.yaml"
            recipe.write_text(
                f"network: {network}\nembedder: {bert_folder}\ndictionary: {tmp_path}\n"
                f"data: {{train: {PASSAGES}, dev: {PASSAGES}, cache: {tmp_path / 'c'}}}\n"
                f"optim: {{tokens: 200, steps: 3, lr: 1e-3}}\neval_limit: 2\n"
            )
            args = [str(recipe), "--out", str(tmp_path / network)]
            if part == "corrector":
                args += ["--drafts.hypothesizer", str(tmp_path)]
            train(args)
            Export(str(tmp_path / network), tmp_path / part).run()
        inverter = load_inverter(tmp_path, budget=Budget(embeddings=200))
        assert isinstance(inverter.hypothesizer, PrefixLM)
        assert isinstance(inverter.corrector, EditNetwork)
        [found] = inverter.invert(embedder.encode(["the museum of clocks"]))
        assert found.text and found.cosine > 0
    finally:
        (tmp_path / "dictionary").rename(inverter_folder / "dictionary")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("network: verse", "network 'verse' is none of t5, prefix_lm, edit_network"),
        ("network: prefix_lm\ndrafts: {share: 0.5}", "drafts"),
        ("network: edit_network\nmodel: {t5: scratch}", "model"),
        ("network: edit_network\ndrafts: {pool: 5}", "unknown setting drafts.pool"),
        ("network: edit_network\ndrafts: {share: 2}", "drafts.share must lie between 0 and 1"),
        ("network: prefix_lm\ndata: {lengths: [64]}", "data.lengths must lie between"),
        ("network: prefix_lm\nshard: true", "shard is for T5s"),
        ("network: prefix_lm\ndata: {noise: -1}", "data.noise must be at least 0"),
        ("optim: {tokens: 5}", "unknown setting optim.tokens"),
        ("optm: {lr: 1}", "unknown setting optm; did you mean optim?"),
        ("data: {min_token: 1}", "unknown setting data.min_token; did you mean min_tokens?"),
        ("optim: {batch: many}", "optim.batch must be a whole number, not 'many'"),
        ("optim: {lr: fast}", "optim.lr must be a number, not 'fast'"),
        ("optim: 5", "optim must be a group of settings, not 5"),
        ("data: {train: [a.txt]}", "data.train must be text, not ['a.txt']"),
        ("data: {cache: 1}", "data.cache must be a path, not 1"),
        ("model: {layer_norm: 1}", "model.layer_norm must be true or false, not 1"),
        (
            "data: {crop: star}",
            "data.crop must be one of random, start, not 'star'; did you mean start?",
        ),
        (
            "network: prefix_lm\ndata: {lengths: [a]}",
            "data.lengths must be a list of whole numbers, not ['a']",
        ),
        ("- 1", "holds no settings"),
    ],
)
def test_recipes_that_do_not_fit_are_refused_by_name(tmp_path, recipe, said):
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(UserError) as refused:
        recipes.load_config(tmp_path / "recipe.yaml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dictionary": "minilm-exact"}, "dictionary minilm-exact is of sentence-transformers/"),
        ({"dictionary": "none"}, "none: not a dictionary"),
        ({"init": "minilm-exact"}, "minilm-exact/corrector: was trained for"),
        ({"init": "none"}, "none: not a network"),
    ],
)
def test_what_does_not_fit_the_embedder_is_refused(config, settings, said):
    run = config(EditRecipe, "run")
    for name, value in settings.items():
        setattr(run, name, value)
    with pytest.raises(UserError, match=said):
        recipes.train(run)


def test_a_network_of_another_kind_is_refused(config, hypothesizer):
    run = config(EditRecipe, "run")
    run.init = str(hypothesizer)
    with pytest.raises(UserError, match="holds a prefix_lm"):
        recipes.train(run)
