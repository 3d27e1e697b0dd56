import pytest

from nanov2t.ui.desk import Desk


@pytest.fixture
def desk(tiny):
    return Desk(tiny, rounds=2, beam=2)
