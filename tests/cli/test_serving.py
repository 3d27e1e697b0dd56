"""The command that serves the page, as far as it goes without serving."""

import socket
import sys

import pytest

from nanov2t.cli import main as cli


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_port_that_is_taken_is_one_line_and_open_hosts_are_warned_of(
    tiny, tmp_path, monkeypatch, capsys, host, warns
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # Gradio may come back to it
    inverters = [str(tmp_path / name) for name in ("tiny", "other")]
    for inverter in inverters:
        tiny.corrector.save_pretrained(inverter, tiny.tokenizer)
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = ["--inverter", inverters[0], "--compare", inverters[1]]
        given += ["--host", host, "--port", port]
        monkeypatch.setattr(sys, "argv", ["nanov2t", "ui", *given])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    *warned, said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and said.startswith("nanov2t: ") and port in said
    assert any("it has no login" in line for line in warned) == warns


def test_there_is_no_sharing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nanov2t", "ui", "--share"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2 and "--share" in capsys.readouterr().err
