"""What users get wrong, over all commands: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import resource
import shlex
import socket
import subprocess
import sys

import numpy as np
import pytest
from support import HERE

NAMES = "minilm-exact, gtr-nq32, gtr-st-nq32, gtr-st-nq32-ielab, ada-002"
BEFORE_LOADING = f"""
nanov2t | give a command, one of invert, evaluate, audit, ...
nanov2t invrt x | no command invrt; did you mean invert?
nanov2t --versio | no command --versio; did you mean --version?

invert | give either texts or --vectors FILE
invert x --vectors rows.npy | give either texts or --vectors FILE
invert fine ' ' | text 2 is empty
invert \udcff | text 1 is not UTF-8
invert x --bem 3 | invert: no option --bem; did you mean --beam?
invert x --rou 3 | invert: no option --rou; did you mean --rounds?
invert x --beam | invert: --beam needs a value
invert x --beam 0 | --beam must be at least 1, not 0
invert x --rounds two | invert: --rounds: two is not a whole number
invert x --rounds -1 | --rounds must be at least 0, not -1
invert x --effort fst | invert: --effort: fst is not one of fast, default, thorough; did you...
invert x --search none | invert: --search: none is not one of default, evolution, beam, exhaustive
invert x --budget soon | budget 'soon'...
invert x --budget 0s | budget '0s': expected a number of embeddings (5000) or a duration (30s, 2m)
invert x --out '' | invert: --out: is empty
invert x --out o | --out needs --vectors
invert x --engine ray | --engine ray needs --vectors and --out
invert --vectors rows.npy --out o --engine ray | ray is not installed: pip install '.[ray]' in a ...
invert x --address a:1 | --address needs --engine ray
invert x --inverter nope | inverter nope: neither a folder nor one of {NAMES}
invert x --inverter minilm-exac | ...; did you mean minilm-exact?
invert x --inverter nobody/nothing | nobody/nothing: no folder of that name, and the Hub cannot ...
invert x --inverter LONG | LONG: File name too long
invert x --embedder '' | the embedder: its name is empty
invert x --inverter hollow | hollow: not an inverter: config.json is missing
invert x --inverter torn | torn: damaged or not a generator: ...
invert --vectors none.npy | none.npy: no such file
invert --vectors '' | the source of vectors: its name is empty
invert --vectors nothing.npy | nothing.npy: cannot be read: the file is empty
invert --vectors no_rows.npy | no_rows.npy: holds no vectors
invert --vectors text.npy | text.npy: cannot be read...
invert --vectors truncated.npy | truncated.npy: cannot be read...
invert --vectors objects.npy | objects.npy: cannot be read...
invert --vectors tall.npy | tall.npy: vectors of 6 ... 384 rows of 6, transposed?
invert --vectors wide.npy | wide.npy: vectors of 385 ... reads 384; name ... --embedder
invert --vectors rows.npy --limit 0 | --limit must be at least 1, not 0
invert x --ids id | --ids needs --vectors
invert --vectors rows.npy --ids id | rows.npy: has no columns to take ids from; ...
invert --vectors rows.npy --out /proc/x | /proc/x: cannot be written: No such file or directory
invert --vectors rows.npy --out fine.txt/x | fine.txt/x: cannot be written: Not a directory

evaluate | evaluate: needs --texts FILE
evaluate --texts none.txt | none.txt: no such file
evaluate --texts nothing.txt | nothing.txt: holds no text
evaluate --texts rows.npy | rows.npy: not one of .txt, .jsonl, .json, .parquet, also .gz or .xz
evaluate --texts fine.txt --limit 0 | --limit must be at least 1, not 0
evaluate --texts fine.txt --drafts none.jsonl | none.jsonl: no such file
evaluate --texts fine.txt --drafts hollow | hollow: a folder without test.hyps.jsonl
evaluate --texts fine.txt --out fine.txt | fine.txt: cannot be written: Not a directory

audit | audit: needs --out FOLDER
audit --ot o | audit: no option --ot; did you mean --out?
audit --out o --pairs 0 | --pairs must be at least 2, not 0
audit --out o --lengths four | audit: --lengths: four is not a whole number
audit --out o --lengths 64 | --lengths 64: inverter minilm-exact writes 1 to 32 tokens
audit --out o --lengths | --lengths: give at least one
audit --out o --limit 1 | --limit must be at least 2, not 1
audit --out o --seed -1 | --seed must be at least 0, not -1
audit --out o --defence nose:1 | defence nose:1: No module named 'nose'; did you mean noise?
audit --out o --defence pq:7 | defence pq:7: 7 is not a number of parts ...
audit --out o --gate none.yaml | none.yaml: cannot be read: No such file or directory
audit --out o --gate gate.yaml | gate.yaml: exact_match@7: not one of ...
audit --out o --baseline torn/config.json | torn/config.json: cannot be read: ...
audit --out o --queries none | none: no such folder
audit --out o --public none.txt | none.txt: no such file
audit --out o --train-budget soon | --train-budget 'soon' is not a duration ...
audit --out /proc/x | /proc/x: cannot be written: No such file or directory

audit --out o --vectors none.npy | none.npy: no such file
audit --out o --vectors wide.npy | wide.npy: vectors of 385 ... reads 384; name ... --embedder
audit --out o --vectors rows.npy --gate gate.yaml | --gate needs --text-column, to compare with
audit --out o --text-column c | --text-column needs --vectors
audit --out o --sarif o.sarif | --sarif needs --gate

match rows.npy | match: needs --texts FILE
match none.npy --texts fine.txt | none.npy: no such file
match rows.npy --texts none.txt | none.txt: no such file
match rows.npy --texts fine.txt --out /proc/x | /proc/x: cannot be written: ...
check | check: needs DIR
check hollow | hollow: holds neither _manifest.json nor report.json: no output of nanov2t

study minilm | study: needs --texts FILE and --out FOLDER
study minilm --texts none.txt --out o | none.txt: no such file
study minilm --texts fine.txt --out o --crops 0 | --crops must be at least 1, not 0
study minilm --texts fine.txt --out /proc/x | /proc/x/dictionary: cannot be written: ...

train | train: give a recipe first, such as: nanov2t train configs/toy.yaml
train none.yaml | none.yaml: no such file or directory
train unknown.yaml | unknown.yaml: ...lerning_rate...
train hollow | hollow: is a directory
train wrong.yaml | wrong.yaml: ...batch...
train broken.yaml | broken.yaml: ...line 1...
train list.yaml | list.yaml: holds no settings; write them as name: value, one a line
train share.yaml | ...drafts.share must be 0 (stage 1) or 1 (stage 2)...
train recipe.yaml --optim.lrr 1 | train: no option --optim.lrr; did you mean --optim.lr?
train recipe.yaml --optim.lr nan | train: --optim.lr: nan is not a number
train recipe.yaml --data.crop strt | train: --data.crop: strt is not one of random, start; ...
train recipe.yaml --budget soon | ...budget 'soon'...
train recipe.yaml --optim.batch 0 | optim.batch must be at least 1, not 0
train recipe.yaml --data.train none.txt | data.train none.txt: no such file or folder
train recipe.yaml --data.train rows.npy | rows.npy: not one of .txt, .jsonl, .json, ...
train recipe.yaml --data.dev nothing.txt | nothing.txt: holds no text
train recipe.yaml --out /proc/x | /proc/x: cannot be written: No such file or directory
train recipe.yaml --out fine.txt | fine.txt: cannot be written: Not a directory

draft | draft: needs INVERTER and --texts FILE
draft nope --texts fine.txt | inverter nope: neither a folder nor one of {NAMES}
draft minilm-exact --texts fine.txt | minilm-exact is no folder: name one for the drafts with --out
draft minilm-exact --texts fine.txt --out o | fine.txt is a file: name its drafts with --split, ...
draft minilm-exact --texts none.txt --out o | none.txt: no such file

export torn | export: needs OUT_DIR
export a b c | export: unexpected argument c
export nope o | inverter nope: neither a folder nor one of {NAMES}
export hollow o | hollow: not an inverter: config.json is missing
export minilm-exact o | inverter minilm-exact: export its networks' folders one by one
export half full | full: holds files already: name another folder, or delete it

push none me/x | none: no such folder
push hollow me/x | hollow: not an inverter: config.json is missing
push half x | x: a repository's name is OWNER/NAME
push half me/x | me/x: not uploaded: HF_HUB_OFFLINE is set

ui --port 99999 | --port must lie between 1 and 65535, not 99999
ui --port TAKEN | --port TAKEN: taken by another program; choose another port
ui --host 1.2.3.4 | --host 1.2.3.4: no address of this computer
ui --share | ui: no option --share; ...
"""
WHILE_LOADING = """
invert x --inverter half | half: damaged generator: ...
invert x --inverter other | ...fingerprint...
match rows.npy --texts fine.txt --near 2 | --near must lie between 0 and 1, not 2
match wide.npy --texts fine.txt | wide.npy: vectors of 385 dimensions, but ... makes 384
match rows.npy --texts blank.txt | blank.txt: holds no text
evaluate --texts blank.txt | blank.txt: holds no text
evaluate --texts hollow | hollow: cannot be read: ...
evaluate --texts nobody/nothing | nobody/nothing: no such file, and the Hub cannot be reached
evaluate --texts fine.txt --drafts fine.txt | fine.txt, line 1: ...
evaluate --texts fine.txt --drafts drafts.jsonl | drafts.jsonl: no draft for idx 0; ...
audit --out o --defence int8 --pairs 5000 | --pairs 5000: between 2 and 1024, the public texts
train recipe.yaml --tracker trackio | tracker trackio is not installed: pip install trackio
train recipe.yaml --embedder no/such/folder | ...no/such/folder...
train recipe.yaml --init half | half: damaged...
export half o | half: damaged generator: ...
"""
LONG = "n" * 300


def rows(table):
    return [tuple(line.split(" | ")) for line in table.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """A folder with bad files, and good ones to go with them."""
    folder = tmp_path_factory.mktemp("bad")
    vectors = np.eye(384, dtype=np.float32)[:3]
    arrays = {
        "rows": vectors,
        "truncated": vectors,
        "objects": np.array([{}], object),
        "wide": np.ones((2, 385)),
        "tall": np.ones((384, 6)),
        "no_rows": vectors[:0],
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    os.truncate(folder / "truncated.npy", 1000)
    files = {
        "text.npy": "not an array",
        "nothing.npy": "",
        "nothing.txt": "",
        "blank.txt": "\n",
        "fine.txt": "a text\n",
        "drafts.jsonl": '{"idx": 1, "draft": "x"}',
        "gate.yaml": "exact_match@7: {max: 5}",
        "unknown.yaml": "optim: {lerning_rate: 1}",
        "wrong.yaml": "optim: {batch: many}",
        "broken.yaml": "a: [",
        "list.yaml": "- optim",
        "share.yaml": "drafts: {share: 2}",
        "recipe.yaml": "model: {t5: scratch, tokenizer: embedder}\n"
        f"data: {{train: '{HERE / 'passages.txt'}'}}",
        "torn/config.json": "{",
        "full/something": "",
        "hollow/.keep": "",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    for name in ("half", "other"):
        tiny.corrector.save_pretrained(folder / name, tiny.tokenizer)
    os.truncate(folder / "half/model.safetensors", 5000)
    config = json.loads((folder / "other/config.json").read_text())
    config["embedder"]["fingerprint"] = "0123456789abcdef"
    (folder / "other/config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def taken():
    """A port that is taken."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


def words_of(line):
    """What stands behind the name of the program."""
    return shlex.split(line.removeprefix("nanov2t").replace("LONG", LONG))


def check(said, code, out, err):
    first, *others = f"nanov2t: {said.replace('LONG', LONG)}".split("...")
    assert code == 2 and not out, err
    if others:
        assert err.startswith(first) and err.count("\n") == 1, err
        assert all(part in err for part in others), err
    else:
        assert err == first + "\n"


@pytest.mark.parametrize(("line", "said"), rows(BEFORE_LOADING) + rows(WHILE_LOADING))
def test_one_line_says_what_is_wrong(command, folder, taken, monkeypatch, line, said):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    code, out, err = command(*words_of(line.replace("TAKEN", taken)))
    check(said.replace("TAKEN", taken), code, out, err)
    assert sorted(folder.rglob("*")) == before


ALONE = """
import contextlib, io, json, sys, time
from nanov2t.cli.main import main

for line in sys.stdin:
    sys.argv, began, said = ["nanov2t", *json.loads(line)], time.process_time(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main()
    seconds = time.process_time() - began
    print(json.dumps([said.getvalue(), seconds, "torch" in sys.modules]))
"""


def test_what_needs_no_model_does_not_wait_for_torch(folder, taken):
    lines = [line.replace("TAKEN", taken) for line, _ in rows(BEFORE_LOADING)]
    given = "\n".join(json.dumps(words_of(line)) for line in lines)
    run = [sys.executable, "-c", ALONE]
    done = subprocess.run(run, input=given, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for line, (said, seconds, torch) in zip(lines, results, strict=True):
        assert said.startswith("nanov2t: ") and seconds < 2 and not torch, line


@pytest.mark.parametrize(
    "line",
    [
        "invert --vectors wide.npy",
        "audit --out o --gate gate.yaml",
        "evaluate --texts none.txt",
        "ui --host 1.2.3.4",
    ],
)
def test_a_command_of_its_own_answers_at_once(folder, line):
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = [sys.executable, "-m", "nanov2t", *words_of(line)]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    [said] = [said for known, said in rows(BEFORE_LOADING) if known == line]
    check(said, done.returncode, done.stdout, done.stderr)
    assert ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime < 2
