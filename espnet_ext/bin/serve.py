"""Serve a page and an HTTP API that judge recordings of learners."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from espnet_ext.bin import audio_options, cli, early_checks
from espnet_ext.errors import UserError
from espnet_ext.progress import say


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Serve a page on which recordings of learners are judged as by `judge`: record in the "
        "browser or upload a file, see both transcripts and the deviations along the waveform, and "
        "replay words. The same JSON is available as an HTTP API (POST /api/judge, documented "
        "under /api). Recordings stay in memory until they are answered; nothing is stored or "
        "logged. Needs the extra serve."
    )
    parser.add_argument(
        "model",
        help="directory of a trained system with the output surface, or its archive (.zip), or "
        "user/name on the Hugging Face hub",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; the default is reached from this machine only. There is no "
        "encryption and no login: put a web server with HTTPS before it for others. Browsers "
        "record only on HTTPS pages and on localhost",
    )
    parser.add_argument("--port", type=_port, default=8000, help="port; 0: a free one")
    audio_options.add_judge(parser)
    parser.add_argument(
        "--max_seconds",
        type=audio_options.seconds,
        default=30.0,
        help="longest recording that is judged",
    )
    parser.add_argument(
        "--max_megabytes", type=_positive, default=10.0, help="largest upload; others get 413"
    )
    parser.add_argument(
        "--upload_seconds",
        type=audio_options.seconds,
        default=20.0,
        help="longest time that an upload may take; others get 408",
    )
    parser.add_argument(
        "--requests_per_minute",
        type=_count,
        default=60,
        help="recordings per minute from one address, others get 429; 0: any number",
    )
    parser.add_argument(
        "--max_waiting",
        type=_count,
        default=16,
        help="recordings that may wait while another one is judged; others get 503",
    )
    args = parser.parse_args(argv)
    if args.precision is not None and args.threshold is not None:
        parser.error("--precision and --threshold both set the operating point: give one")
    if args.beam_size < 1:
        parser.error("--beam_size must be 1 or more")
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed", 'pip install "espnet-ext[serve]"')

    from espnet_ext.serving import server

    listener = server.listen(
        args.host, args.port
    )  # before the model is loaded, which takes seconds
    with listener:
        early_checks.require_model(args.model)

        from espnet_ext.feedback.judge import Judge
        from espnet_ext.model.load import gpu
        from espnet_ext.serving.app import create_app
        from espnet_ext.serving.limits import Limits
        from espnet_ext.text.lexicon import read_pronunciations

        judge = Judge.from_pretrained(
            args.model,
            args.calibration,
            threshold=args.threshold,
            precision=args.precision,
            lexicon=read_pronunciations(args.lexicon) if args.lexicon else None,
            max_seconds=args.max_seconds,
            conditions=dict(args.conditions),
            device=gpu() if args.ngpu else "cpu",
            beam_size=args.beam_size,
            number_format=args.number_format,
        )
        server.warm_up(judge)
        limits = Limits(
            megabytes=args.max_megabytes,
            upload_seconds=args.upload_seconds,
            requests_per_minute=args.requests_per_minute,
            waiting=args.max_waiting,
        )
        hosts: tuple[str, ...] = ()
        if server.is_loopback(args.host):
            hosts = (*server.LOOPBACK_NAMES, args.host)
        else:
            say(f"warning: {args.host} can be reached from other machines, without a login")
        server.run(create_app(judge, limits, args.model, hosts), listener)
    return 0


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"'{value}' is not a port from 0 to 65535")
    return int(value)


def _count(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{value}' is not a number from 0 on")
    return int(value)


def _positive(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"'{value}' is not a positive number")
    return number


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
