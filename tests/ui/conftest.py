import pytest
from browsing import LOCAL, browsing, open_visit

from nanov2t.ui.desk import Desk
from nanov2t.ui.page import open_page


@pytest.fixture
def desk(tiny):
    return Desk(tiny.with_options(rounds=2, beam=2))


@pytest.fixture(scope="package")
def uploads(tmp_path_factory):
    """The folder of what visitors bring."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="package")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="package")
def url(tiny, uploads):
    page, url = open_page(Desk(tiny.with_options(rounds=2, beam=2)), "127.0.0.1", None)
    yield url
    page.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as another visitor; what it asked for from elsewhere fails the test."""
    requests = []
    yield lambda address=url, **settings: open_visit(browser, address, requests, **settings)
    for context in browser.contexts:
        context.close()
    assert requests and [u for u in requests if not LOCAL.match(u)] == []
