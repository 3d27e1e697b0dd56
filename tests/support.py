"""What tests of several packages share."""

from pathlib import Path

from nanov2t.train.config import DataConfig, DraftConfig, ModelConfig, OptimConfig, TrainConfig

HERE = Path(__file__).parent
TINY = {
    "t5": "scratch",
    "tokenizer": "embedder",
    "d_model": 64,
    "d_ff": 128,
    "d_kv": 16,
    "heads": 4,
    "layers": 2,
    "pseudo_tokens": 4,
    "lexical": True,
}


def tiny_config(out: Path = Path("unused"), share: float = 0.5, **settings) -> TrainConfig:
    """A joint model of MiniLM on the passages beside this file, small enough to train within a
    test."""
    return TrainConfig(
        out=out,
        data=DataConfig(
            train=str(HERE / "passages.txt"), dev=str(HERE / "passages.txt"), cache=out / "cache"
        ),
        model=ModelConfig(**TINY),
        drafts=DraftConfig(share=share, pool=16, rounds=2),
        optim=OptimConfig(
            batch=8, micro_batch=4, epochs=0.9 if share == 0.5 else 2.2, lexical_steps=2
        ),
        eval_limit=4,
        precision="fp32",
        **settings,
    )
