"""The documentation of the HTTP API: OpenAPI, and a page that loads nothing from other servers."""

from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from markupsafe import Markup, escape

from espnet_ext.feedback.judgement import VERSION, schema

API_VERSION = VERSION  # that of the judgement
DESCRIPTION = (
    "Send a recording and, if known, the sentence that was to be read. The answer has what was "
    "pronounced and what was meant, aligned, and the named deviations. Recordings are kept in "
    "memory until the answer is sent; they are neither stored nor logged."
)
STATUSES = {
    400: "there is no audio (`empty`)",
    403: "the request comes from a page of another site, or under another host name (`other_site`)",
    408: "the recording arrived too slowly (`too_slow`)",
    413: "the recording is too large (`too_large`)",
    415: "the body cannot be read as audio (`not_audio`), or has an unusual sample rate "
    "or number of channels (`unusual_audio`)",
    422: "the prompt has a word that cannot be pronounced, or is missing for a model without the "
    "output meaning (`cannot_judge`); a parameter is invalid or unknown (`invalid_parameter`)",
    429: "the client has sent too many requests; `Retry-After` says when to continue "
    "(`too_many_requests`)",
    500: "the server failed (`internal`)",
    503: "too many recordings wait; `Retry-After` says when to try again (`busy`, `out_of_memory`)",
}
_JUDGEMENT = {"$ref": "#/components/schemas/judgement"}
_ERROR = {"$ref": "#/components/schemas/error"}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The judgement. A recording that is silent, too long, or not the sentence "
        "of the prompt has the status `not_judged` and a reason.",
        "content": {"application/json": {"schema": _JUDGEMENT}},
    },
    **{
        status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
        for status, text in STATUSES.items()
    },
}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": "An audio file that libsndfile reads: WAV, FLAC, Ogg (Vorbis, Opus), MP3 "
        "and others; one or two channels. The content type is not read.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "for programs"},
                "message": {"type": "string", "description": "what is wrong"},
                "remedy": {"type": "string", "description": "what to do"},
            },
            "required": ["code", "message", "remedy"],
        }
    },
    "required": ["error"],
}


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application, with the JSON schema of judgements."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        document.setdefault("components", {})["schemas"] = _schemas()
        app.openapi_schema = document
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    """Return the components: the schema of a judgement, its parts, and that of errors."""
    judgement = schema()
    del judgement["$schema"]
    parts = judgement.pop("$defs")
    return _with_references({"judgement": judgement, **parts, "error": _ERROR_SCHEMA})


def _with_references(value: Any) -> Any:
    """Return a schema whose references to its own parts refer to the components."""
    if isinstance(value, list):
        return [_with_references(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item.replace("#/$defs/", "#/components/schemas/")
        if key == "$ref"
        else _with_references(item)
        for key, item in value.items()
    }


def page(document: dict[str, Any]) -> str:
    """Return the documentation as a page, from the OpenAPI document."""
    from jinja2 import Environment, StrictUndefined

    template = resources.files("espnet_ext.serving") / "static" / "api.html"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    return environment.from_string(template.read_text(encoding="utf-8")).render(document=document)


def _code(text: str) -> Markup:
    """Return text as HTML, with `code` between backquotes.

    >>> _code("a `<b>`")
    Markup('a <code>&lt;b&gt;</code>')
    """
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )
