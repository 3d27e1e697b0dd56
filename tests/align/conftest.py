import pytest
from second import embed

from nanov2t.align.making import make_alignment
from nanov2t.embedders.function import FunctionEmbedder
from nanov2t.inverter import Inverter
from nanov2t.load import EngineNetworks


@pytest.fixture(scope="session")
def second():
    """A real second embedder: three layers of MiniLM, 256 numbers of a rotated space."""
    return FunctionEmbedder(embed)


@pytest.fixture(scope="session")
def alignment(second, minilm):
    return make_alignment(second, minilm, pairs=1000)


@pytest.fixture(scope="session")
def aligned(second, minilm, bundled, alignment) -> Inverter:
    """The bundled inverter for the second embedder's vectors."""
    networks = bundled.hypothesizer, bundled.corrector
    return Inverter(EngineNetworks(second, bundled.dictionary, *networks, minilm, alignment))
