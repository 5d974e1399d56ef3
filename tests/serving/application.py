"""An application with a scripted recogniser, called in this process."""

import asyncio
import io

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason='pip install -e ".[serve]"')
from scripted import NOISE, RATE, ScriptedRecogniser  # noqa: E402

from espnet_ext.feedback.judge import Judge  # noqa: E402
from espnet_ext.serving.app import create_app  # noqa: E402
from espnet_ext.serving.limits import Limits  # noqa: E402

LIMITS = Limits(requests_per_minute=0)


def judge_of(surface="AY S IH NG K", meaning="i think", **options):
    return Judge(ScriptedRecogniser(surface, meaning, extra_tokens=("TH",), **options))


def audio(samples=NOISE, rate=RATE, kind="WAV", subtype=None):
    """Return an audio file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def call(app, steps):
    """Run `steps(client)`, a coroutine, with a client of the application; return its result."""

    async def run():
        transport = httpx.ASGITransport(app, client=("10.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await steps(client)

    return asyncio.run(run())


def send(content, limits=LIMITS, judge=None, headers=None, **parameters):
    """Return the response to one recording."""
    app = create_app(judge or judge_of(), limits, "model")

    async def steps(client):
        return await client.post(
            "/api/judge", content=content, params=parameters, headers=headers or {}
        )

    return call(app, steps)


SILENCE = np.zeros(RATE, np.float32)  # 1 s
