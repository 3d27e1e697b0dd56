"""Embedders on a server: a real one on this machine that speaks OpenAI's embeddings API, MiniLM
behind it."""

import dataclasses
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from nanov2t.core.errors import UserError
from nanov2t.embedders.function import PROBES
from nanov2t.embedders.openai import OpenAIEmbedder
from nanov2t.embedders.registry import load_embedder
from nanov2t.load import load_inverter
from nanov2t.t5.stages import build_generator
from nanov2t.train.config import ModelConfig, T5Recipe

KEY = "sk-secret-of-the-tests"


class Server(ThreadingHTTPServer):
    """`failures` are the statuses of the next answers, before the vectors come; `key`, if any, is
    demanded; if `full`, vectors keep all dimensions, whatever is asked for."""

    def __init__(self, model):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.failures, self.key, self.seen = model, [], "", []
        self.full = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.seen.append((body["input"], sent))
        if self.server.failures:
            self.answer(self.server.failures.pop(0), {"error": {"message": f"not now, {sent}"}})
        elif self.server.key and sent != self.server.key:
            self.answer(401, {"error": {"message": f"no such key: {sent}"}})
        elif self.path != "/v1/embeddings" or not all(body["input"]):
            self.answer(400, {"error": {"message": "an empty text"}})
        else:
            kept = None if self.server.full else body.get("dimensions")
            rows = [
                {"object": "embedding", "index": i, "embedding": vector[:kept].tolist()}
                for i, vector in enumerate(self.server.model.encode(body["input"]))
            ]
            usage = {"prompt_tokens": 0, "total_tokens": 0}
            self.answer(
                200, {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage}
            )

    def answer(self, status: int, body: dict):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def local():
    return load_embedder("minilm", "cpu")


@pytest.fixture
def server(local, monkeypatch, tmp_path):
    monkeypatch.setenv("NANOV2T_CACHE", str(tmp_path / "cache"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with Server(local) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_vectors_are_those_of_the_model_behind_it(server, local, monkeypatch):
    monkeypatch.setattr("nanov2t.embedders.openai.BATCH", 2)
    embedder = load_embedder(f"openai:minilm@{server.url}")
    assert isinstance(embedder, OpenAIEmbedder)
    assert (embedder.name, embedder.dim, embedder.normalized) == (
        f"openai:minilm@{server.url}",
        384,
        True,
    )
    texts = ["a cat", "the dog barks", "", "night falls", "it rains"]
    assert np.allclose(embedder.encode(texts), local.encode(texts), atol=1e-5)
    assert server.seen[0][0] == list(PROBES)
    assert sorted(len(texts) for texts, _ in server.seen[1:]) == [1, 2, 2], "batches of two"
    assert np.allclose(embedder.encode(texts), local.encode(texts), atol=1e-5)
    assert len(server.seen) == 4, "what came is kept"
    assert embedder.encode([]).shape == (0, 384)
    assert embedder.normalize(" A cat ") == "A cat" and not embedder.reads(local.tokenizer)


def test_prompts_and_dimensions_are_sent(server, local):
    plain = load_embedder(f"openai:minilm@{server.url}")
    prompted = load_embedder(f"openai:minilm@{server.url}?prompt=passage:%20")
    assert (prompted.info.prompt, prompted.name) == (
        "passage: ",
        plain.name + "?prompt=passage:%20",
    )
    assert prompted.info.fingerprint != plain.info.fingerprint
    assert np.allclose(prompted.encode(["a cat"]), local.encode(["passage: a cat"]), atol=1e-5)
    short = load_embedder(f"openai:minilm@{server.url}", truncate_dim=100)
    assert (short.dim, short.normalized) == (100, False)
    assert np.allclose(short.encode(["a cat"]), local.encode(["a cat"])[:, :100], atol=1e-5)
    server.full = True
    with pytest.raises(UserError, match=r"shape \(1, 384\) instead of \(1, 100\)"):
        short.encode(["a dog"])


def test_refusals_of_the_moment_are_retried(server, local):
    embedder = load_embedder(f"openai:minilm@{server.url}")
    server.failures = [429, 500]
    assert np.allclose(embedder.encode(["a cat"]), local.encode(["a cat"]), atol=1e-5)
    assert len(server.seen) == 4


def test_an_api_that_goes_away_costs_the_requests_in_flight_alone(server, local, monkeypatch):
    monkeypatch.setattr("nanov2t.embedders.openai.BATCH", 10)
    monkeypatch.setattr("nanov2t.embedders.openai.RETRIES", 0)
    texts = [f"letter {i}" for i in range(40)]
    embedder = load_embedder(f"openai:minilm@{server.url}")
    server.failures = [503]
    with pytest.raises(UserError, match="no vectors from minilm"):
        embedder.encode(texts)
    server.seen.clear()
    again = load_embedder(f"openai:minilm@{server.url}")  # as the same command does, run again
    assert np.allclose(again.encode(texts), local.encode(texts), atol=1e-5)
    assert [len(texts) for texts, _ in server.seen] == [len(PROBES), 10], (
        "the probes, and what was refused"
    )


def test_requests_shrink_to_what_a_server_takes(server, local, monkeypatch):
    embedder = load_embedder(f"openai:minilm@{server.url}")
    server.failures = [413]
    texts = [f"letter {i}" for i in range(20)]
    assert np.allclose(embedder.encode(texts), local.encode(texts), atol=1e-5)
    assert [len(texts) for texts, _ in server.seen[1:]] == [20, 10, 10]


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    server, monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.DEBUG)
    server.key = KEY
    with pytest.raises(UserError, match="refuses to answer without a key: set OPENAI_API_KEY"):
        load_embedder(f"openai:minilm@{server.url}")
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "x")
    with pytest.raises(UserError, match="refuses this key") as refused:
        load_embedder(f"openai:minilm@{server.url}")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    embedder = load_embedder(f"openai:minilm@{server.url}")
    server.failures = [400]
    with pytest.raises(UserError, match="not now") as failed:
        embedder.encode(["a cat"])
    for said in (str(refused.value), str(failed.value), caplog.text, repr(embedder.info)):
        assert KEY not in said
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert load_embedder("openai:minilm").dim == 384
    # This machine under a name that is not known to be its own stands for a stranger's server.
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(UserError, match="without a key"):
        load_embedder(f"openai:minilm@http://127.1:{server.server_port}/v1")
    assert server.seen[-1][1] != KEY


def test_what_the_user_can_mend(server, monkeypatch):
    with pytest.raises(UserError, match="openai:text-embedding-ada-002: set OPENAI_API_KEY"):
        load_embedder("openai:text-embedding-ada-002")
    for spec in (
        "",
        "x@localhost:1",
        "x@http://me:secret@localhost/v1",
        "x@http://localhost/v1?k=secret",
    ):
        with pytest.raises(UserError, match="write openai:MODEL") as wrong:
            load_embedder(f"openai:{spec}")
        assert "secret" not in str(wrong.value)
    monkeypatch.setattr("nanov2t.embedders.openai.RETRIES", 0)
    address = server.url
    server.server_close()
    with pytest.raises(UserError, match="no vectors from minilm"):
        load_embedder(f"openai:minilm@{address}")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install '\.\[openai\]'"):
        load_embedder("openai:minilm")


def test_one_call_tells_what_is_known_of_a_model(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert load_embedder("openai:text-embedding-ada-002").dim == 384
    assert server.seen == [(list(PROBES), KEY)]


def test_an_inverter_of_a_servers_vectors(server, tmp_path):
    embedder = load_embedder(f"openai:minilm@{server.url}")
    model = ModelConfig(
        t5="scratch", tokenizer="embedder", d_model=16, d_ff=16, d_kv=8, heads=2, layers=1
    )
    with pytest.raises(UserError, match=r"openai:minilm.* does not show its tokens"):
        build_generator(T5Recipe(model=model), embedder)
    generator, tokenizer = build_generator(T5Recipe(model=model), load_embedder("minilm", "cpu"))
    generator.config = dataclasses.replace(generator.config, embedder=embedder.info)
    generator.eval().save_pretrained(tmp_path / "ours", tokenizer)
    inverter = load_inverter(tmp_path / "ours", device="cpu")
    [found] = inverter.invert(inverter.embedder.encode(["a cat"]), beam=2)
    assert found.embedder_calls <= 8 and inverter.embedder.name == embedder.name
