"""Embedders behind OpenAI's embeddings API, or behind any server that speaks it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np

from nanov2t.core.errors import UserError
from nanov2t.embedders.base import Embedder, EmbedderInfo
from nanov2t.embedders.settings import UNCHANGED, EmbedderSettings
from nanov2t.stores.base import import_client

OPENAI = "https://api.openai.com/v1"
KNOWN = {
    "text-embedding-ada-002": 1536,
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
}
"""Dimensions of OpenAI's own models; all give unit vectors."""
MAX_TOKENS = 8191
"""After which OpenAI's models cut a text off. Of other servers' models it is not known; inverters
write far less."""
BATCH = 128
"""Texts in a request."""
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
        if self._server == OPENAI and self._model in KNOWN:
            dim, normalized = self._dim or KNOWN[self._model], True
        else:  # they show in the vector of any text
            [probe] = self._embed(["probe"])
            dim, normalized = len(probe), bool(abs(np.linalg.norm(probe) - 1) < 1e-3)
        self.info = EmbedderInfo(
            name=settings.write(spec),
            dim=dim,
            max_tokens=MAX_TOKENS,
            normalized=normalized,
            lowercase=False,
            fingerprint=_fingerprint(self._model, settings),
            prompt=self._prompt,
            truncate_dim=self._dim,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        batches = [self._embed(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
        vectors = np.concatenate([np.zeros((0, self.dim), np.float32), *batches])
        if not np.isfinite(vectors).all():
            raise UserError(f"{self._server}: {self._model} gave vectors that are not finite")
        return vectors

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        try:
            # An empty text, from which a search without a draft starts, is refused by the API.
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
            return vectors
        except (self._api.AuthenticationError, self._api.PermissionDeniedError):
            # The server's own words may repeat the key.
            raise UserError(
                f"{self._server} refuses {'this key' if self._key else 'to answer without a key'}: "
                "set OPENAI_API_KEY (and OPENAI_BASE_URL, if it is not OpenAI's)"
            ) from None
        except (self._api.APIError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).replace(self._key or "\0", "…").split())
            raise UserError(
                f"{self._server}: no vectors from {self._model}: {reason[:200]}"
            ) from None


def _fingerprint(model: str, settings: EmbedderSettings) -> str:
    """The weights are out of reach; the model's name and the settings are all there is to tell
    models by."""
    content = settings.write(f"openai {model}")
    return hashlib.sha256(content.encode()).hexdigest()[:16]
