"""`python -m mammo serve`: a finished model as an HTTP service."""

import argparse
import logging
from pathlib import Path

from mammo.cli.parsers import Subparsers, add_verify, parse_count, show_examples
from mammo.core.errors import InputError
from mammo.core.tensorflow_log import set_log_level

CONNECTIONS_PER_FILM = 2  # of those that may wait: more are refused before they are read


def add_parser(subparsers: Subparsers) -> None:
    """Add `serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="serve a finished model over HTTP",
        description="Answers POST /v1/predict with the numbers of `python -m mammo predict`. docs/serving.md has the "
        "routes. For research only: not a medical device.",
    )
    parser.add_argument("model", metavar="MODEL", help="as for `predict --model`: a name, a bundle, an MLflow URI")
    add_verify(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--api-keys", metavar="FILE", type=Path, help="a line `user key` for each who may ask")
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="certificate (PEM), to serve HTTPS")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its private key (PEM)")
    parser.add_argument("--audit-log", metavar="FILE", type=Path, help="append each inference to this hash-chained log")
    parser.add_argument("--drift-limits", metavar="YAML", type=Path, help="what raises an alarm on /metrics")
    parser.add_argument("--max-queue", type=parse_count, default=64, help="films that may wait (default: %(default)s)")
    parser.add_argument("--max-body-mb", type=parse_count, default=64, help="of a request (default: %(default)s)")
    parser.add_argument("--workers", type=parse_count, default=2, help="threads that decode (default: %(default)s)")
    show_examples(
        parser,
        "python -m mammo serve light_cnn --port 8000",
        "curl --data-binary @film.png 'http://127.0.0.1:8000/v1/predict?box=10,20,60,80'",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Load the model and serve it until SIGINT or SIGTERM; what has been asked is answered first."""
    set_log_level()
    if (args.tls_cert is None) != (args.tls_key is None):
        raise InputError("--tls-cert and --tls-key belong together; one of them is missing")
    for path in filter(None, (args.tls_cert, args.tls_key)):
        if not path.is_file():
            raise InputError(f"{path} does not exist")
    import uvicorn

    from mammo.inference import predictor
    from mammo.serving.app import create_app
    from mammo.serving.drift import read_limits
    from mammo.serving.protocol import PunctualProtocol
    from mammo.serving.settings import MEGABYTE, ServiceSettings, read_api_keys

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = ServiceSettings(
        max_body_bytes=args.max_body_mb * MEGABYTE,
        max_queue=args.max_queue,
        workers=args.workers,
        api_keys=() if args.api_keys is None else read_api_keys(args.api_keys),
        audit_log=args.audit_log,
        drift=read_limits(args.drift_limits),
    )
    uvicorn.run(
        create_app(predictor.load(args.model, verify=args.verify), settings),
        host=args.host,
        port=args.port,
        http=PunctualProtocol,
        ssl_certfile=args.tls_cert,
        ssl_keyfile=args.tls_key,
        limit_concurrency=CONNECTIONS_PER_FILM * args.max_queue,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
