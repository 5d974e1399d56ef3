"""`espnet-ext serve`: its options, its address, and a real connection."""

import socket
import threading
import urllib.request

import pytest
from application import LIMITS, audio, judge_of

from espnet_ext.bin import cli, serve
from espnet_ext.errors import UserError
from espnet_ext.serving import server
from espnet_ext.serving.app import create_app


@pytest.mark.parametrize(
    "options",
    [
        ["--precision", "0.8", "--threshold", "0.5"],
        ["--port", "70000"],
        ["--max_waiting", "-1"],
        ["--max_megabytes", "0"],
        ["--beam_size", "0"],
    ],
)
def test_wrong_options_are_wrong_usage(options):
    with pytest.raises(SystemExit) as caught:
        serve.main(["model", *options])
    assert caught.value.code == 2


def test_port_in_use_is_an_error_before_the_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.run(serve.main, ["no/model", "--port", str(port)]) == 1
    assert f"port {port}" in capsys.readouterr().err


def test_missing_extra_names_its_installation(monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        serve.main(["model"])
    assert caught.value.remedy == 'pip install "espnet-ext[serve]"'


def test_unknown_host_is_an_error():
    with pytest.raises(UserError, match="cannot listen on no.such.host.invalid"):
        server.listen("no.such.host.invalid", 0)


def test_server_answers_over_a_connection(capfd):
    judge = judge_of()
    server.warm_up(judge)
    listener = server.listen("127.0.0.1", 0)
    address = server.address_of(listener)
    running = server.configured_server(create_app(judge, LIMITS, hosts=server.LOOPBACK_NAMES))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        request = urllib.request.Request(f"{address}api/judge?prompt=i+think", audio())
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.status == 200
            assert "TH → S" in response.read().decode()
            assert "server" not in response.headers
    finally:
        running.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
    assert "".join(capfd.readouterr()) == ""
