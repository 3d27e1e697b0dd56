"""The command that serves the page, as far as it goes without serving."""

import socket

import pytest

from nanov2t.cli.serving import Ui, check_address
from nanov2t.core.errors import UserError
from nanov2t.ui import page


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_is_taken_is_refused(host):
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: taken"):
            check_address(host, port)
    check_address(host, port)  # once it is free again


@pytest.mark.parametrize("host", ["", "1.2.3.4", "no host", "x" * 99])
def test_a_host_that_is_none_of_ours_is_refused(host):
    with pytest.raises(UserError, match=r"--host .*: no address of this computer"):
        check_address(host, None)


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_open_hosts_are_warned_of(tiny, tmp_path, monkeypatch, capsys, host, warns):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # Gradio may come back to it
    tiny.corrector.save_pretrained(tmp_path / "tiny", tiny.tokenizer)

    def stop(*_):
        raise UserError("far enough")

    monkeypatch.setattr(page, "open_page", stop)
    with pytest.raises(UserError, match="far enough"):
        Ui(inverter=str(tmp_path / "tiny"), host=host).run()
    assert ("it has no login" in capsys.readouterr().err) == warns
