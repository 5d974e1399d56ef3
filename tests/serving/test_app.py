"""The HTTP API: the same JSON as `judge`, and an answer to every request."""

import asyncio
import json
import threading
import tracemalloc

import jsonschema
import numpy as np
import pytest
from application import LIMITS, NOISE, SILENCE, audio, call, judge_of, send

from espnet_ext.feedback.judgement import schema
from espnet_ext.serving import documentation
from espnet_ext.serving.app import STATIC, create_app
from espnet_ext.serving.limits import Limits, RateLimiter, Refusal

MEGABYTE = 1_000_000


def code_of(response):
    error = response.json()["error"]
    assert set(error) == {"code", "message", "remedy"} and all(error.values())
    return error["code"]


@pytest.mark.parametrize("prompt", [None, "i think"])
def test_answer_equals_that_of_judge(prompt, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(audio(rate=22050))
    parameters = {"name": str(path)} | ({"prompt": prompt} if prompt else {})
    response = send(path.read_bytes(), **parameters)
    assert response.status_code == 200
    jsonschema.validate(response.json(), schema())
    assert response.json() == json.loads(json.dumps(judge_of()(path, prompt).to_json()))
    assert response.json()["deviations"][0]["text"] == 'TH → S in "think"'


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)],
)
def test_formats_are_read_from_memory(kind, subtype):
    response = send(audio(rate=48000, kind=kind, subtype=subtype), prompt="i think")
    assert response.status_code == 200 and response.json()["status"] == "judged"


def test_two_channels_are_mixed():
    both = np.stack([NOISE, NOISE], axis=1)
    assert send(audio(both)).json()["transcripts"] == send(audio()).json()["transcripts"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty"),
        (b"this is no audio" * 50, 415, "not_audio"),
        (audio()[:60], 415, "not_audio"),
        (audio(np.full(800, np.nan, np.float32), subtype="FLOAT"), 415, "not_audio"),
        (audio(rate=400_000), 415, "unusual_audio"),
        (audio(np.zeros((800, 6), np.float32)), 415, "unusual_audio"),
        (bytes(3 * MEGABYTE), 413, "too_large"),
    ],
    ids=["empty", "text", "truncated", "nan", "rate", "channels", "large"],
)
def test_unusable_upload_has_an_error_with_a_remedy(content, status, code):
    response = send(content, Limits(megabytes=1, requests_per_minute=0))
    assert (response.status_code, code_of(response)) == (status, code)


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (audio()[:60], "is truncated", "send the whole file"),
        (audio(NOISE[:0]), "has no samples", "record it again"),
        (b"this is no audio" * 50, "cannot be read as audio", "send an audio file: WAV"),
    ],
    ids=["truncated", "no samples", "text"],
)
def test_remedy_fits_the_fault_of_the_upload(content, message, remedy):
    error = send(content).json()["error"]
    assert message in error["message"] and error["remedy"].startswith(remedy)


def test_recordings_that_judge_declines_are_not_judged():
    assert send(audio(SILENCE)).json()["reason"] == "silence"
    row = send(audio(np.tile(NOISE, 40), kind="FLAC")).json()
    assert (row["reason"], row["seconds"]) == ("too_long", 40.0)
    jsonschema.validate(row, schema())


def test_wrong_prompts_have_an_error():
    assert code_of(send(audio(), prompt="word " * 200)) == "invalid_parameter"
    assert code_of(send(audio(), judge=judge_of(meaning=None))) == "cannot_judge"
    assert code_of(send(audio(), prompt="日本語")) == "cannot_judge"


def test_unknown_parameter_has_an_error_with_the_similar_one():
    response = send(audio(), promt="i think so")
    assert (response.status_code, code_of(response)) == (422, "invalid_parameter")
    error = response.json()["error"]
    assert (error["message"], error["remedy"]) == (
        "unknown parameter 'promt'",
        "did you mean 'prompt'?",
    )


def test_large_upload_without_a_length_is_not_kept_in_memory():
    async def chunks():
        for _ in range(100):
            yield bytes(MEGABYTE)

    tracemalloc.start()
    response = send(chunks(), Limits(megabytes=2, requests_per_minute=0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code_of(response) == "too_large" and peak < 20 * MEGABYTE


def test_silence_that_is_compressed_a_lot_is_not_decoded():
    content = audio(np.tile(SILENCE, 1000), kind="FLAC")
    assert len(content) < 0.1 * MEGABYTE
    tracemalloc.start()
    row = send(content).json()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (row["reason"], row["seconds"]) == ("too_long", 30.0001) and peak < 20 * MEGABYTE
    assert row["message"].startswith("more than 30 s of audio")


def test_slow_upload_is_ended():
    async def chunks():
        yield audio()[:100]
        await asyncio.sleep(5)

    response = send(chunks(), Limits(upload_seconds=0.05, requests_per_minute=0))
    assert (response.status_code, code_of(response)) == (408, "too_slow")


def test_fifty_concurrent_requests_are_all_answered():
    """One is judged and 16 wait; the others are refused with 503."""
    judge = judge_of()
    release, running = threading.Event(), []
    decode = judge.decode

    def slow(samples, rate=None):
        running.append(threading.current_thread().name)
        release.wait(10)
        return decode(samples, rate)

    judge.decode = slow
    app = create_app(judge, LIMITS)

    async def steps(client):
        async def one(number):
            return await client.post("/api/judge", content=audio(), params={"name": str(number)})

        tasks = [asyncio.create_task(one(number)) for number in range(50)]
        while sum(task.done() for task in tasks) < 33 or not running:
            await asyncio.sleep(0.01)
        info = await client.get("/api/info")  # is answered while the model works
        assert info.status_code == 200 and len(running) == 1
        release.set()
        return await asyncio.gather(*tasks)

    responses = call(app, steps)
    judged = [response for response in responses if response.status_code == 200]
    assert len(judged) == 17 and len(set(running)) == 1
    for response in judged:
        assert response.json()["audio"] == response.request.url.params["name"]
    refused = [response for response in responses if response.status_code == 503]
    assert len(refused) == 33 and {code_of(response) for response in refused} == {"busy"}
    assert all(response.headers["retry-after"] for response in refused)


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_odd_uploads_are_answered_and_leave_nothing(count, tmp_path, monkeypatch, capfd):
    """Damaged files of every kind: an answer below 500 or none judged, no file, no log."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(7)
    whole = [audio(), audio(kind="FLAC"), audio(kind="OGG"), audio(kind="MP3"), b"\0" * 5000]
    app = create_app(judge_of(), LIMITS)

    async def steps(client):
        statuses = []
        for number in range(count):
            content = bytearray(whole[number % len(whole)])
            for position in random.integers(0, min(len(content), 200), random.integers(1, 12)):
                content[position] = random.integers(256)
            content = content[: random.integers(0, len(content) + 1)] if number % 3 else content
            response = await client.post(
                "/api/judge", content=bytes(content), params={"prompt": "secret sentence"}
            )
            statuses.append(response.status_code)
        return statuses

    statuses = call(app, steps)
    assert set(statuses) <= {200, 400, 415, 422} and 415 in statuses
    assert not list(tmp_path.iterdir())
    assert "secret" not in "".join(capfd.readouterr())  # libmpg123 prints warnings


def test_failure_of_the_server_logs_no_content(capfd):
    judge = judge_of()

    def fail(*_):
        raise KeyError("secret sentence")

    judge.decode = fail
    response = send(audio(), judge=judge, prompt="i think")
    assert (response.status_code, code_of(response)) == (500, "internal")
    printed = "".join(capfd.readouterr())
    assert "KeyError" in printed and "secret" not in printed + response.text


def test_rate_of_a_client_is_limited():
    limits = Limits(requests_per_minute=2)
    app = create_app(judge_of(), limits)

    async def steps(client):
        return [await client.post("/api/judge", content=audio()) for _ in range(3)]

    responses = call(app, steps)
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert code_of(responses[2]) == "too_many_requests"
    assert 1 <= int(responses[2].headers["retry-after"]) <= 31


def test_rate_includes_requests_with_unknown_parameters():
    app = create_app(judge_of(), Limits(requests_per_minute=2))

    async def steps(client):
        return [await client.post("/api/judge?promt=a", content=b"") for _ in range(3)]

    responses = call(app, steps)
    assert [response.status_code for response in responses] == [422, 422, 429]


def test_rate_recovers_and_clients_are_forgotten(monkeypatch):
    monkeypatch.setattr("espnet_ext.serving.limits.MAX_CLIENTS", 3)
    now = [0.0]
    limiter = RateLimiter(2, lambda: now[0])
    for client in "aab":
        limiter.admit(client)
    with pytest.raises(Refusal):
        limiter.admit("a")
    now[0] = 30.0
    limiter.admit("a")
    for client in "cdef":
        limiter.admit(client)
    assert len(limiter._buckets) == 3


def test_other_sites_are_refused():
    other = {"Origin": "http://evil.example"}
    assert code_of(send(audio(), headers=other)) == "other_site"
    assert send(audio(), headers={"Origin": "http://localhost"}).status_code == 200
    app = create_app(judge_of(), LIMITS, hosts=("localhost", "127.0.0.1", "::1"))

    async def steps(client):
        return [
            (await client.get("/", headers={"Host": host})).status_code
            for host in ("localhost:8000", "[::1]:8000", "127.0.0.1", "evil.example", "", "[")
        ]

    assert call(app, steps) == [200, 200, 200, 403, 403, 403]


def test_pages_have_a_strict_policy_and_load_nothing_from_other_servers():
    app = create_app(judge_of(), LIMITS, "exp/model")

    async def steps(client):
        names = [f"/static/{item.name}" for item in STATIC.iterdir() if item.suffix != ".html"]
        paths = ["/", "/api", *names, "/static/page.html", "/static/..%2fapp.py", "/docs"]
        return {path: await client.get(path) for path in paths}

    responses = call(app, steps)
    statuses = {path: response.status_code for path, response in responses.items()}
    assert {path for path, status in statuses.items() if status != 200} == {
        "/static/page.html",
        "/static/..%2fapp.py",
        "/docs",
    }
    for path, response in responses.items():
        assert "default-src 'none'" in response.headers["content-security-policy"]
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text and "http://" not in text.replace("http://localhost", ""), (
            path
        )
        assert " style=" not in text and "onclick" not in text, path


def test_openapi_describes_every_answer():
    app = create_app(judge_of(), LIMITS)
    document = call(app, lambda client: client.get("/api/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {"/api/info", "/api/schema", "/api/judge"}
    answers = document["paths"]["/api/judge"]["post"]["responses"]
    assert set(answers) == {"200", *map(str, documentation.STATUSES)}
    components = document["components"]["schemas"]
    references = set()

    def collect(value):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                collect(item)
        if isinstance(value, dict) and "$ref" in value:
            references.add(value["$ref"])

    collect(document)
    assert references == {f"#/components/schemas/{name}" for name in components}
    whole = {"$ref": "#/components/schemas/judgement", "components": document["components"]}
    jsonschema.validate(send(audio()).json(), whole)
