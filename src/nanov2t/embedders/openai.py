"""Embedders behind OpenAI's embeddings API, or behind any server that speaks it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from urllib.parse import urlsplit

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.core.files import cache_folder, digest
from nanov2t.core.imports import import_client
from nanov2t.core.vectors import bad_rows
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.kept import KeptVectors
from nanov2t.embedders.probes import probe
from nanov2t.embedders.settings import UNCHANGED, EmbedderSettings

OPENAI = "https://api.openai.com/v1"
MAX_TOKENS = 8191
"""After which OpenAI's models cut a text off. Of other servers' models it is not known; inverters
write far less."""
BATCH, LARGEST = 128, 2048
"""Texts in the first request, and in any: OpenAI's limit."""
QUICK, SLOW = 2.0, 20.0
"""Seconds of a request below which requests grow, and above which they shrink."""
FLYING = 4
"""Requests that wait for answers at a time."""
TOO_LARGE = (400, 413, 422)
"""Statuses by which a server may refuse a request for its size."""
RETRIES = 6
"""Of a request that was refused for the moment or failed: some 25 seconds in all."""


class OpenAIEmbedder(Embedder):
    """A model on a server.

    The key comes from OPENAI_API_KEY. It is sent to OpenAI, to the server that OPENAI_BASE_URL
    names, and to servers on this machine; not to any other, since the spec may come from a
    checkpoint that a stranger wrote.

    Args:
        spec: ``openai:MODEL`` or ``openai:MODEL@URL``.
        settings: a prompt, and a dimension to truncate to, which the server does.

    Vectors that came are kept in the cache folder, so that a command that was stopped goes on.

    Raises:
        UserError: the package `openai` or the key is missing, or the server cannot be reached or
            refuses, or has no such setting.
    """

    def __init__(self, spec: str, settings: EmbedderSettings = UNCHANGED):
        openai = import_client("openai", "openai")

        if settings.prompt_name is not None or settings.max_tokens is not None:
            raise UserError(
                f"embedder {spec.partition('@')[0]}: takes prompt and truncate_dim only"
            )
        self._api = openai
        self._prompt, self._dim = settings.prompt or "", settings.truncate_dim
        self._model, _, url = spec.removeprefix("openai:").partition("@")
        home = os.environ.get("OPENAI_BASE_URL") or OPENAI
        parts = urlsplit(url or home)
        if (
            not self._model
            or parts.scheme not in ("http", "https")
            or "@" in parts.netloc
            or parts.query
        ):
            raise UserError(
                f"embedder {spec.partition('@')[0]}: write openai:MODEL or openai:MODEL@http://HOST:PORT/v1,"
                " without a key in it"
            )
        self._server = url or home
        trusted = self._server.rstrip("/") == home.rstrip("/") or parts.hostname in (
            "localhost",
            "127.0.0.1",
            "::1",
        )
        self._key = os.environ.get("OPENAI_API_KEY", "") if trusted else ""
        if self._server == OPENAI and not self._key:
            raise UserError(f"embedder {spec}: set OPENAI_API_KEY to your key")
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=self._server, max_retries=RETRIES, timeout=60
        )
        self._batch = BATCH
        dim, normalized, lowercase = probe(spec.partition("@")[0], self._embed)
        self._kept = KeptVectors(cache_folder() / "vectors" / f"{digest(spec, settings, dim)}.db")
        self.info = EmbedderInfo(
            name=settings.write(spec),
            dim=dim,
            max_tokens=MAX_TOKENS,
            normalized=normalized,
            lowercase=lowercase,
            fingerprint=_fingerprint(self._model, settings),
            prompt=self._prompt,
            truncate_dim=self._dim,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        unique = list(dict.fromkeys(texts))
        known = self._kept.find(unique)
        waiting = [text for text in unique if text not in known]
        with ThreadPoolExecutor(FLYING) as pool:
            while waiting:
                parts = [waiting[i : i + self._batch] for i in range(0, len(waiting), self._batch)]
                flying = {pool.submit(self._timed, part): part for part in parts[:FLYING]}
                errors = []
                for answer in as_completed(flying):
                    try:
                        vectors = answer.result()
                    except UserError as error:
                        errors.append(error)
                        continue
                    self._kept.add(flying[answer], vectors)
                    known |= zip(flying[answer], vectors, strict=True)
                if errors:
                    raise errors[0]
                waiting = [text for text in waiting if text not in known]
        rows = [known[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _timed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, and learn how many a request should have."""
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
        except self._api.APIStatusError as error:
            if error.status_code in TOO_LARGE and len(texts) > 1:
                self._batch = half = len(texts) // 2
                return np.concatenate([self._embed(texts[:half]), self._embed(texts[half:])])
            raise self._refusal(error) from None
        except (self._api.APIError, ValueError, TypeError, AttributeError) as error:
            raise self._refusal(error) from None

    def _request(self, texts: Sequence[str]) -> np.ndarray:
        # The API refuses an empty text, from which a search without a draft starts.
        answer = self._client.embeddings.create(
            model=self._model,
            input=[self._prompt + text or " " for text in texts],
            encoding_format="float",
            dimensions=self._dim or self._api.omit,
        )
        rows = sorted(answer.data, key=lambda row: row.index)
        vectors = np.array([row.embedding for row in rows], np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"an answer of shape {vectors.shape} to {len(texts)} texts")
        if self._dim and vectors.shape[1] != self._dim:
            raise ValueError(f"{vectors.shape[1]} dimensions, where {self._dim} were asked for")
        if bad := bad_rows(vectors):
            raise ValueError(f"a vector that is {next(iter(bad.values()))}")
        return vectors

    def _refusal(self, error: Exception) -> UserError:
        if isinstance(error, (self._api.AuthenticationError, self._api.PermissionDeniedError)):
            # The server's own words may repeat the key.
            return UserError(
                f"{self._server} refuses {'this key' if self._key else 'to answer without a key'}: "
                "set OPENAI_API_KEY (and OPENAI_BASE_URL, if it is not OpenAI's)"
            )
        reason = " ".join(str(error).replace(self._key or "\0", "…").split())
        return UserError(f"{self._server}: no vectors from {self._model}: {reason[:200]}")


def _fingerprint(model: str, settings: EmbedderSettings) -> str:
    """The weights are out of reach; the model's name and the settings are all there is to tell
    models by."""
    content = settings.write(f"openai {model}")
    return hashlib.sha256(content.encode()).hexdigest()[:16]
