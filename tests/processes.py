"""Processes of a test's own, forked from one that has imported the slow libraries once."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

PATIENCE = 300
"""Seconds."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["nanov2t.bulk", "nanov2t.load", "nanov2t.recipes", "sentence_transformers"]
)


def nanov2t(*args: str) -> None:
    """The command line."""
    from nanov2t.cli import main as cli

    sys.argv = ["nanov2t", *args]
    cli.main()


def start(said: Path, function: Callable[..., None], *args: str, **environment: str) -> BaseProcess:
    """Call a module's function in a process of its own.

    Args:
        said: where its standard output goes; its standard error has `.err` at the end.
    """
    process = FORKS.Process(target=_call, args=(said, function, args, environment))
    process.start()
    return process


def on_two(folder: Path, function: Callable[..., None], *args: str) -> str:
    """Call a module's function in two processes, which find each other as torchrun's do.

    Returns:
        The standard output of the first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    group |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    said = [folder / f"said{rank}" for rank in range(2)]
    processes = [
        start(path, function, *args, **group, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank, path in enumerate(said)
    ]
    try:
        for process, path in zip(processes, said, strict=True):
            process.join(PATIENCE)
            assert process.exitcode == 0, path.with_suffix(".err").read_text()[-4000:]
    finally:
        for process in processes:
            process.kill()
    return said[0].read_text()


def _call(said: Path, function: Callable[..., None], args: tuple[str, ...], environment) -> None:
    for number, path in ((1, said), (2, said.with_suffix(".err"))):
        with open(path, "w") as file:
            os.dup2(file.fileno(), number)
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(*args)
