"""`python -m mammo ui`: the MLflow UI of this workspace's runs."""

import argparse
import os

from mammo.cli.parsers import Subparsers, show_examples


def add_parser(subparsers: Subparsers) -> None:
    """Add `ui`."""
    parser = subparsers.add_parser("ui", help="open the MLflow UI of this workspace's runs")
    parser.add_argument("--port", type=int, default=5000)
    show_examples(
        parser,
        "python -m mammo ui --port 5001",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Serve the embedded store, or print the page of the server that holds the runs."""
    from mammo.core.config import load_config
    from mammo.tracking import table_view

    store, page = table_view.table_page(load_config().tracking.experiment)
    if store.startswith("http"):
        print(f"the comparison table's runs: {store.rstrip('/')}{page}")
        return
    print(f"the comparison table's runs: http://127.0.0.1:{args.port}{page}", flush=True)
    server = ["mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(args.port)]
    os.execvp(server[0], server)
