"""Files that recipes name."""

import pytest
from support import HERE

from nanov2t.cli.main import train
from nanov2t.core.errors import UserError
from nanov2t.recipes import load_config

ROOT = HERE.parent
RECIPE = """
out: ../runs/one
embedder: {embedder}
init: minilm-exact
data:
  train: passages.txt
  dev: ../dev.txt
  cache: tokens
drafts: {{hypothesizer: runs/first}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a recipe into a folder beside the current one; its text is there, too."""
    recipes = tmp_path / "recipes"
    for folder in (recipes, tmp_path / "elsewhere", recipes / "runs" / "first"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    (recipes / "passages.txt").write_text("a text\n")
    (tmp_path / "dev.txt").write_text("a text\n")

    def make(embedder="minilm"):
        (recipes / "recipe.yaml").write_text(RECIPE.format(embedder=embedder))
        return recipes / "recipe.yaml"

    return make


def test_paths_start_from_the_recipe_and_names_stay(write, tmp_path):
    config = load_config(write())
    assert config.out == tmp_path / "runs" / "one"
    assert config.data.train == str(tmp_path / "recipes" / "passages.txt")
    assert config.data.dev == str(tmp_path / "dev.txt")
    assert config.data.cache == tmp_path / "recipes" / "tokens"
    assert config.drafts.hypothesizer == str(tmp_path / "recipes" / "runs" / "first")
    assert (config.embedder, config.init) == ("minilm", "minilm-exact")
    config = load_config(write("../model?prompt=a://b"))
    assert config.embedder == f"{tmp_path / 'model'}?prompt=a://b"


def test_the_toy_finds_its_text_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(ROOT / "configs" / "toy.yaml")
    assert config.data.train == config.data.dev == str(HERE / "passages.txt")
    assert config.out == ROOT / "runs" / "toy"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--data.train", "none.txt"], "data.train none.txt: no such file or folder"),
        (["--data.train", ""], "data.train: name the training text"),
        (["--drafts.hypothesizer", "./gone"], "drafts.hypothesizer ./gone: no such file or folder"),
        (["--embedder", "./gone?prompt=a"], "embedder ./gone?prompt=a: no such file or folder"),
        (["--out", "file/run"], "file/run: cannot be written: Not a directory"),
    ],
)
def test_what_is_missing_is_said_before_a_model_is_loaded(write, tmp_path, args, said):
    """The embedder, which is missing too, would be the first to be loaded."""
    (tmp_path / "elsewhere" / "file").write_text("")
    with pytest.raises(UserError) as refused:
        train([str(write("no/such/embedder")), *args])
    assert str(refused.value) == said
