"""Inverters uploaded to a server that speaks the Hub's API, and read back from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from hub import LocalHub

from nanov2t.cli.making import Push
from nanov2t.core.errors import UserError
from nanov2t.load import load_inverter
from nanov2t.pretrained import BUNDLED, DEFAULT

CODE = """
import os, sys
from nanov2t import load_inverter
from nanov2t.cli.main import main

sys.argv, os.environ["HF_TOKEN"] = ["nanov2t", "push", "run", "me/x"], "hf_wrong"
try:
    main()
except SystemExit as stop:
    print("refused", stop.code, file=sys.stderr)
os.environ["HF_TOKEN"] = "hf_test"
for folder, name in (("run", "me/tiny"), ("looking", "me/looking")):
    sys.argv = ["nanov2t", "push", folder, name]
    main()
    print(load_inverter(name).fingerprint())
"""


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server
        server.shutdown()


@pytest.fixture
def run(hub, tmp_path):
    """Run Python code in a process of its own, whose Hub is the local one."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(code):
        command, env = [sys.executable, "-c", code], os.environ | settings
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_what_is_uploaded_is_read_back_and_what_the_hub_refuses_is_one_line(
    hub, run, tiny, tmp_path
):
    tiny.corrector.save_pretrained(tmp_path / "run" / "model", tiny.tokenizer)
    records = [{"step": s, "dev_loss": loss} for s, loss in ((10, 3.0), (20, 2.5), (30, 2.75))]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "run" / "metrics.jsonl").write_text(lines)
    shutil.copytree(BUNDLED[DEFAULT] / "dictionary", tmp_path / "looking" / "dictionary")
    (tmp_path / "looking" / "README.md").write_text("---\ntags: [x]\n---\nan own card")

    done = run(CODE)
    assert done.returncode == 0, done.stderr[-4000:]
    refusal, _, _ = done.stderr.partition("refused 2\n")
    assert refusal.startswith("nanov2t: me/x: not uploaded: ") and refusal.count("\n") == 1
    assert set(hub.repos) == {"me/tiny", "me/looking"}
    ours = [load_inverter(tmp_path / name).fingerprint() for name in ("run", "looking")]
    assert done.stdout.split() == [f"{hub.url}/me/tiny", ours[0], f"{hub.url}/me/looking", ours[1]]
    for request in hub.created.values():  # the client's versions say it in two ways
        assert request.get("private") or request.get("visibility") == "private"

    files = hub.repos["me/tiny"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert not any("metrics" in path or "checkpoint" in path for path in files)
    _, head, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "nanov2t"
    assert 'load_inverter("me/tiny")' in text and "dev figures at step 20 | loss 2.5" in text
    assert tiny.embedder.info.fingerprint in text and "longest text | 8 tokens" in text
    assert hub.repos["me/looking"]["README.md"].endswith(b"an own card")


def test_what_is_no_inverter_is_not_uploaded(tmp_path):
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "config.json is miss")):
        with pytest.raises(UserError, match=said):
            Push(folder, "me/x").run()
