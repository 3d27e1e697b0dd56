"""The command that serves the page, as far as it goes without serving."""

import socket

import pytest

from nanov2t.cli.serving import PORTS, Ui, free_port
from nanov2t.core.errors import UserError
from nanov2t.ui import server


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_is_taken_is_refused_and_a_free_one_is_found(host):
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: taken"):
            free_port(host, port)
    assert free_port(host, port) == port  # once it is free again
    assert free_port(host, None) in PORTS


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_open_hosts_are_warned_of(tiny, tmp_path, monkeypatch, capsys, host, warns):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # Gradio may come back to it
    tiny.corrector.save_pretrained(tmp_path / "tiny", tiny.tokenizer)

    def stop(*_):
        raise UserError("far enough")

    monkeypatch.setattr(server, "open_page", stop)
    with pytest.raises(UserError, match="far enough"):
        Ui(inverter=str(tmp_path / "tiny"), host=host).run()
    assert ("it has no login" in capsys.readouterr().err) == warns
