"""The web application: the page, the HTTP API, and its documentation.

One thread runs the model, so recordings are judged one after the other; the others wait. Recordings
and prompts are kept in memory until the answer is sent, and are not logged.
"""

import asyncio
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from espnet_ext.errors import UserError, did_you_mean, is_out_of_memory
from espnet_ext.feedback.judge import MEANING, Judge
from espnet_ext.feedback.judgement import Judgement, schema
from espnet_ext.progress import say
from espnet_ext.serving import documentation
from espnet_ext.serving.limits import Admission, Limits, RateLimiter, Refusal
from espnet_ext.serving.protection import Protection
from espnet_ext.serving.uploads import decode, read_body, too_large

PARAMETERS = ("prompt", "name")  # of /api/judge
STATIC = resources.files("espnet_ext.serving") / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create_app(
    judge: Judge, limits: Limits | None = None, model: str = "", hosts: tuple[str, ...] = ()
) -> FastAPI:
    """Return the application that judges recordings with one model.

    Args:
        judge: judges the recordings; only one at a time.
        limits: what is accepted.
        model: name of the model, for the page.
        hosts: names under which the server may be called; (): any name.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="espnet-ext serve",
        version=str(documentation.API_VERSION),
        description=documentation.DESCRIPTION,
        docs_url=None,  # FastAPI's own pages load scripts from other servers
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.openapi = lambda: documentation.openapi(app)  # type: ignore[method-assign]
    app.add_middleware(Protection, hosts=hosts)
    _add_error_handlers(app)
    _add_pages(app)
    _add_api(app, judge, limits, model)
    return app


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse((STATIC / "page.html").read_text(encoding="utf-8"))

    @app.get("/api", include_in_schema=False)
    async def api_page() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    files = {item.name: item for item in STATIC.iterdir()}

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix)
        if name not in files or media_type is None:
            raise HTTPException(404)
        return Response(files[name].read_bytes(), media_type=media_type)


def _add_api(app: FastAPI, judge: Judge, limits: Limits, model: str) -> None:
    rates = RateLimiter(limits.requests_per_minute)
    admission = Admission(limits.waiting)
    turn = asyncio.Lock()  # first come, first served
    worker = ThreadPoolExecutor(1, thread_name_prefix="judge")

    @app.get(
        "/api/info",
        summary="Return the model and the limits of the server",
        response_description="the model and the limits",
    )
    async def info() -> dict[str, Any]:
        return {
            "model": model,
            "language": judge.language,
            "needs_prompt": MEANING not in judge.recogniser.outputs,
            "calibrated": judge.is_calibrated,
            "max_seconds": judge.max_seconds,
            "max_bytes": limits.bytes,
            "max_prompt_characters": limits.prompt_characters,
            "requests_per_minute": limits.requests_per_minute,
        }

    @app.get(
        "/api/schema",
        summary="Return the JSON schema of a judgement",
        response_description="the JSON schema",
    )
    async def json_schema() -> dict[str, Any]:
        return schema()

    @app.post(
        "/api/judge",
        summary="Judge one recording",
        responses=documentation.RESPONSES,
        openapi_extra=documentation.REQUEST_BODY,
    )
    async def judge_recording(
        request: Request,
        prompt: Annotated[
            str | None,
            Query(
                description="the sentence that was to be read; without it, the recognised meaning "
                "is expected",
                max_length=limits.prompt_characters,
            ),
        ] = None,
        name: Annotated[
            str, Query(description="name of the recording, for the answer", max_length=200)
        ] = "upload",
    ) -> JSONResponse:
        """Send an audio file as the request body; the answer is what `judge --json` prints."""
        rates.admit(request.client.host if request.client else "")
        for unknown in request.query_params.keys() - set(PARAMETERS):
            remedy = did_you_mean(
                unknown, PARAMETERS, f"the parameters are {', '.join(PARAMETERS)}"
            )
            raise Refusal(422, "invalid_parameter", f"unknown parameter '{unknown}'", remedy)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.bytes:
            raise too_large(limits)
        with admission:
            content = await read_body(request, limits)
            async with turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                loop = asyncio.get_running_loop()
                judgement = await loop.run_in_executor(
                    worker, _judge, judge, content, prompt or None, name
                )
        return JSONResponse(judgement.to_json())


def _judge(judge: Judge, content: bytes, prompt: str | None, name: str) -> Judgement:
    """Judge an uploaded file.

    Raises:
        Refusal: for audio or a prompt that cannot be used, and for failures of the server, of
            which no content is logged.
    """
    try:
        upload = decode(content, judge.max_seconds)
        if upload.is_too_long:
            return judge.too_long(name, upload.seconds, prompt)
        return judge(upload.samples, prompt, sample_rate=upload.rate, name=name)
    except UserError as error:
        raise Refusal(422, "cannot_judge", error.message, error.remedy) from None
    except (Exception, MemoryError) as error:
        if isinstance(error, Refusal):
            raise
        if is_out_of_memory(error):
            raise Refusal(
                503, "out_of_memory", "the server lacks memory", "send a shorter recording", 5
            ) from None
        place = traceback.extract_tb(error.__traceback__)[-1]
        say(f"error: {type(error).__name__} in {place.filename}, line {place.lineno}")
        raise Refusal(
            500, "internal", "the server failed", "send another recording, and report the fault"
        ) from None


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        message = f"{first['loc'][-1]}: {first['msg']}"
        return _error(Refusal(422, "invalid_parameter", message, "see /api"))

    @app.exception_handler(HTTPException)
    async def missing(_: Request, error: HTTPException) -> JSONResponse:
        return _error(Refusal(error.status_code, "no_such_path", str(error.detail), "see /api"))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, error: ClientDisconnect) -> JSONResponse:
        return _error(Refusal(400, "disconnected", "the client ended the connection", ""))


def _error(refusal: Refusal) -> JSONResponse:
    retry = refusal.retry_after
    return JSONResponse(
        {"error": {"code": refusal.code, "message": refusal.message, "remedy": refusal.remedy}},
        refusal.status,
        {} if retry is None else {"Retry-After": str(retry)},
    )
