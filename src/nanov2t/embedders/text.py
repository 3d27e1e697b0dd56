"""Texts as an embedder sees them."""

from collections.abc import Sequence
from typing import Any

from nanov2t.embedders.base import Embedder


def reference(text: str, tokenizer: Any, embedder: Embedder, max_tokens: int) -> str:
    """The best text that an inverter could find: cut to its length, as the embedder sees it."""
    row = tokenizer(text, add_special_tokens=False, truncation=True, max_length=max_tokens)
    normalizer = tokenizer.backend_tokenizer.normalizer
    lowers = normalizer is not None and normalizer.normalize_str("A") == "a"
    if lowers and not embedder.info.lowercase:
        end = row.token_to_chars(len(row["input_ids"]) - 1).end if row["input_ids"] else 0
        return embedder.normalize(text[:end])
    unknown = tokenizer.unk_token
    if unknown is None:
        return decode_texts([row["input_ids"]], tokenizer, embedder)[0]
    # Unknown tokens move the vector, so they stay; normalize() would lower-case and break them.
    seen = tokenizer.decode(row["input_ids"]).split(unknown)
    return f" {unknown} ".join(embedder.normalize(part) for part in seen).strip()


def decode_texts(rows: Sequence[Sequence[int]], tokenizer: Any, embedder: Embedder) -> list[str]:
    """The texts of token ids without special tokens, as the embedder sees them."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [embedder.normalize(text) for text in texts]
