"""Embedders behind OpenAI's embeddings API, or a server that speaks it."""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import cache_folder, digest
from nanov2t.core.imports import import_client
from nanov2t.core.vectors import bad_rows
from nanov2t.embedders.base import UNCHANGED, Embedder, EmbedderInfo, EmbedderSettings
from nanov2t.embedders.function import probe

OPENAI = "https://api.openai.com/v1"
LOCAL = ("localhost", "127.0.0.1", "::1")
MAX_TOKENS = 8191  # of OpenAI's models; other servers' are not known, and inverters write far less
BATCH = 128  # texts in a request, unless the server refuses so many
PARALLEL = 4  # requests at a time
TOO_LARGE = (400, 413, 422)  # statuses by which a server may refuse a request for its size
RETRIES = 6  # of a request that failed or was refused for now: some 25 seconds in all
KEPT = 200_000  # most vectors on disk; the oldest are dropped


class OpenAIEmbedder(Embedder):
    """A model on a server: ``openai:MODEL`` or ``openai:MODEL@URL``, with a prompt or truncate_dim.

    Vectors are kept on disk, so a stopped command can continue. OPENAI_API_KEY is sent only to
    OpenAI, to the server in OPENAI_BASE_URL, and to servers on this machine, since a stranger's
    checkpoint may name the server.
    """

    def __init__(self, spec: str, settings: EmbedderSettings = UNCHANGED):
        self._api = import_client("openai", "openai")
        shown = spec.partition("@")[0]
        if not settings.given().keys() <= {"prompt", "truncate_dim"}:
            raise UserError(f"embedder {shown}: takes prompt and truncate_dim only")
        self._prompt, self._truncate = settings.prompt or "", settings.truncate_dim
        self._model, _, url = spec.removeprefix("openai:").partition("@")
        home = os.environ.get("OPENAI_BASE_URL") or OPENAI
        self._server = url or home
        parts = urlsplit(self._server)
        is_url = parts.scheme in ("http", "https") and "@" not in parts.netloc and not parts.query
        if not self._model or not is_url:
            forms = "openai:MODEL or openai:MODEL@http://HOST:PORT/v1, without a key in it"
            raise UserError(f"embedder {shown}: write {forms}")
        trusted = self._server.rstrip("/") == home.rstrip("/") or parts.hostname in LOCAL
        self._key = os.environ.get("OPENAI_API_KEY", "") if trusted else ""
        if self._server == OPENAI and not self._key:
            raise UserError(f"embedder {spec}: set OPENAI_API_KEY to your key")
        self._client = self._api.OpenAI(
            api_key=self._key or "none", base_url=self._server, max_retries=RETRIES, timeout=60
        )
        self._batch, self._expected = BATCH, self._truncate
        self._expected, normalized, lowercase = probe(shown, self._embed)
        kept = cache_folder() / "vectors" / f"{digest(spec, settings, self._expected)}.db"
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept = sqlite3.connect(kept, timeout=60)  # processes may share it
            self._kept.execute("create table if not exists kept (text blob unique, vector blob)")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{kept}: cannot keep vectors: {error}") from None
        self.info = EmbedderInfo(
            settings.write(spec),
            self._expected,
            MAX_TOKENS,
            normalized,
            lowercase,
            # The weights are out of reach, so the model's name stands for them.
            digest(settings.write(f"openai {self._model}")),
            self._prompt,
            truncate_dim=self._truncate,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        known, query = {}, "select vector from kept where text = ?"
        for text in dict.fromkeys(texts):
            for (vector,) in self._kept.execute(query, (_key(text),)):
                known[text] = np.frombuffer(vector, np.float32)
        with ThreadPoolExecutor(PARALLEL) as pool:
            while waiting := [text for text in dict.fromkeys(texts) if text not in known]:
                parts = [waiting[i : i + self._batch] for i in range(0, len(waiting), self._batch)]
                answers = {pool.submit(self._embed, part): part for part in parts[:PARALLEL]}
                for answer, part in answers.items():
                    if answer.exception() is None:  # keep what came, whatever the others do
                        made = dict(zip(part, answer.result(), strict=True))
                        self._keep(made)
                        known |= made
                for answer in answers:
                    answer.result()
        return np.array([known[text] for text in texts], np.float32).reshape(-1, self.dim)

    def _keep(self, made: dict[str, np.ndarray]) -> None:
        rows = [(_key(text), vector.tobytes()) for text, vector in made.items()]
        oldest = f"(select max(rowid) from kept) - {KEPT}"
        with self._kept:
            self._kept.executemany("insert or replace into kept values (?, ?)", rows)
            self._kept.execute(f"delete from kept where rowid <= {oldest}")

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        try:
            answer = self._client.embeddings.create(
                model=self._model,
                # The API refuses an empty text, which a search without a draft starts from.
                input=[self._prompt + text or " " for text in texts],
                encoding_format="float",
                dimensions=self._truncate or self._api.omit,
            )
            rows = sorted(answer.data, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in rows], np.float32)
            if vectors.shape != (shape := (len(texts), self._expected or vectors.shape[-1])):
                raise ValueError(f"vectors of shape {vectors.shape} instead of {shape}")
            for reason in bad_rows(vectors).values():
                raise ValueError(f"a vector that is {reason}")
            return vectors
        except (self._api.AuthenticationError, self._api.PermissionDeniedError):
            # The server's message may repeat the key.
            refused = "this key" if self._key else "to answer without a key"
            hint = "set OPENAI_API_KEY (and OPENAI_BASE_URL, if it is not OpenAI's)"
            raise UserError(f"{self._server} refuses {refused}: {hint}") from None
        except (self._api.APIError, ValueError, TypeError, AttributeError) as error:
            if getattr(error, "status_code", None) in TOO_LARGE and len(texts) > 1:
                self._batch = half = len(texts) // 2
                return np.concatenate([self._embed(texts[:half]), self._embed(texts[half:])])
            reason = " ".join(str(error).replace(self._key or "\0", "…").split())[:200]
            raise UserError(f"{self._server}: no vectors from {self._model}: {reason}") from None


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
