"""Embedders behind OpenAI's embeddings API, or a server that speaks it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import cache_folder, digest
from nanov2t.core.imports import import_client
from nanov2t.core.vectors import bad_rows
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.probes import probe
from nanov2t.embedders.settings import UNCHANGED, EmbedderSettings

OPENAI = "https://api.openai.com/v1"
LOCAL = ("localhost", "127.0.0.1", "::1")
MAX_TOKENS = 8191
"""The limit of OpenAI's models. Those of other servers are not known; inverters write far less."""
BATCH, LARGEST = 128, 2048
"""Texts in the first request, and OpenAI's limit."""
QUICK, SLOW = 2.0, 20.0
"""Requests grow below so many seconds, and shrink above so many."""
PARALLEL = 4
"""Requests at a time."""
TOO_LARGE = (400, 413, 422)
"""Statuses by which a server may refuse a request for its size."""
RETRIES = 6
"""Tries of a request that failed or was refused for now: some 25 seconds in all."""
KEPT = 200_000
"""Most vectors on disk; the oldest are dropped."""


class OpenAIEmbedder(Embedder):
    """A model on a server. Its vectors are kept on disk, so a stopped command can continue.

    OPENAI_API_KEY is sent only to OpenAI, to the server in OPENAI_BASE_URL, and to servers on this
    machine, since the spec may come from a stranger's checkpoint.

    Args:
        spec: ``openai:MODEL`` or ``openai:MODEL@URL``.
        settings: prompt and truncate_dim only; the server truncates.

    Raises:
        UserError: the package `openai` or the key is missing, the server cannot be reached or
            refuses, or it has no such setting.
    """

    def __init__(self, spec: str, settings: EmbedderSettings = UNCHANGED):
        self._api = import_client("openai", "openai")
        shown = spec.partition("@")[0]
        if settings.prompt_name is not None or settings.max_tokens is not None:
            raise UserError(f"embedder {shown}: takes prompt and truncate_dim only")
        self._prompt, self._dim = settings.prompt or "", settings.truncate_dim
        self._model, _, url = spec.removeprefix("openai:").partition("@")
        home = os.environ.get("OPENAI_BASE_URL") or OPENAI
        self._server = url or home
        parts = urlsplit(self._server)
        is_url = parts.scheme in ("http", "https") and "@" not in parts.netloc and not parts.query
        if not self._model or not is_url:
            raise UserError(
                f"embedder {shown}: write openai:MODEL or openai:MODEL@http://HOST:PORT/v1,"
                " without a key in it"
            )
        trusted = self._server.rstrip("/") == home.rstrip("/") or parts.hostname in LOCAL
        self._key = os.environ.get("OPENAI_API_KEY", "") if trusted else ""
        if self._server == OPENAI and not self._key:
            raise UserError(f"embedder {spec}: set OPENAI_API_KEY to your key")
        self._client = self._api.OpenAI(
            api_key=self._key or "none", base_url=self._server, max_retries=RETRIES, timeout=60
        )
        self._batch = BATCH
        dim, normalized, lowercase = probe(shown, self._embed)
        self._kept = _KeptVectors(cache_folder() / "vectors" / f"{digest(spec, settings, dim)}.db")
        self.info = EmbedderInfo(
            name=settings.write(spec),
            dim=dim,
            max_tokens=MAX_TOKENS,
            normalized=normalized,
            lowercase=lowercase,
            # The weights are out of reach, so the model's name stands for them.
            fingerprint=digest(settings.write(f"openai {self._model}")),
            prompt=self._prompt,
            truncate_dim=self._dim,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        unique = list(dict.fromkeys(texts))
        known = self._kept.find(unique)
        waiting = [text for text in unique if text not in known]
        with ThreadPoolExecutor(PARALLEL) as pool:
            while waiting:
                parts = [waiting[i : i + self._batch] for i in range(0, len(waiting), self._batch)]
                running = {pool.submit(self._timed, part): part for part in parts[:PARALLEL]}
                errors = []
                for answer in as_completed(running):
                    try:
                        vectors = answer.result()
                    except UserError as error:
                        errors.append(error)
                        continue
                    self._kept.add(running[answer], vectors)
                    known |= zip(running[answer], vectors, strict=True)
                if errors:
                    raise errors[0]
                waiting = [text for text in waiting if text not in known]
        rows = [known[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _timed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, and adapt the size of requests to the time that it took."""
        began = time.monotonic()
        vectors = self._embed(texts)
        if vectors.shape[1] != self.dim:
            raise UserError(
                f"{self._server}: {self._model} now makes {vectors.shape[1]} numbers a vector, "
                f"not {self.dim}"
            )
        took = time.monotonic() - began
        if took > SLOW:
            self._batch = max(1, len(texts) // 2)
        elif took < QUICK and len(texts) == self._batch:
            self._batch = min(LARGEST, 2 * self._batch)
        return vectors

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        try:
            return self._request(texts)
        except (self._api.APIError, ValueError, TypeError, AttributeError) as error:
            if getattr(error, "status_code", None) in TOO_LARGE and len(texts) > 1:
                self._batch = half = len(texts) // 2
                return np.concatenate([self._embed(texts[:half]), self._embed(texts[half:])])
            raise self._refusal(error) from None

    def _request(self, texts: Sequence[str]) -> np.ndarray:
        answer = self._client.embeddings.create(
            model=self._model,
            # The API refuses an empty text, which a search without a draft starts from.
            input=[self._prompt + text or " " for text in texts],
            encoding_format="float",
            dimensions=self._dim or self._api.omit,
        )
        rows = sorted(answer.data, key=lambda row: row.index)
        vectors = np.array([row.embedding for row in rows], np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"an answer of shape {vectors.shape} to {len(texts)} texts")
        if self._dim and vectors.shape[1] != self._dim:
            raise ValueError(f"{vectors.shape[1]} dimensions instead of {self._dim}")
        if bad := bad_rows(vectors):
            raise ValueError(f"a vector that is {next(iter(bad.values()))}")
        return vectors

    def _refusal(self, error: Exception) -> UserError:
        if isinstance(error, (self._api.AuthenticationError, self._api.PermissionDeniedError)):
            # The server's message may repeat the key.
            return UserError(
                f"{self._server} refuses {'this key' if self._key else 'to answer without a key'}: "
                "set OPENAI_API_KEY (and OPENAI_BASE_URL, if it is not OpenAI's)"
            )
        reason = " ".join(str(error).replace(self._key or "\0", "…").split())
        return UserError(f"{self._server}: no vectors from {self._model}: {reason[:200]}")


class _KeptVectors:
    """Vectors by the hashes of their texts, in an SQLite file that processes may share."""

    def __init__(self, path: Path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=60)
            self._base.execute("create table if not exists kept (text blob unique, vector blob)")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{path}: cannot keep vectors: {error}") from None

    def find(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        query, found = "select vector from kept where text = ?", {}
        for text in texts:
            for (vector,) in self._base.execute(query, (_key(text),)):
                found[text] = np.frombuffer(vector, np.float32)
        return found

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        rows = [(_key(t), v.tobytes()) for t, v in zip(texts, vectors, strict=True)]
        with self._base:
            self._base.executemany("insert or replace into kept values (?, ?)", rows)
            newest = "(select max(rowid) from kept)"
            self._base.execute(f"delete from kept where rowid <= {newest} - ?", (KEPT,))


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
