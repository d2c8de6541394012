"""The section on parameters, data and records."""

from mammo.core.config import flatten
from mammo.reporting.cells import pairs_table
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.page import Note, Section

LOCAL_PATH = "ingest.root"  # on one machine; the page is about what is in it
PARAMETERS = ("ingest", "split", "preprocess")


def build_provenance(report: DataReport) -> Section:
    """Build the section on parameters, data and records."""
    guide = (
        "Two reports with equal fingerprint and hashes are about the same data, split and preprocessed the same way."
    )
    chosen = {name: getattr(report.params, name).model_dump() for name in PARAMETERS}
    flattened = {name: str(value) for name, value in flatten(chosen).items() if name != LOCAL_PATH}
    values = {"seed": str(report.params.seed)} | flattened
    return Section(
        "provenance",
        "Provenance",
        guide,
        [
            Note(f"Fingerprint of the pixel store (SHA-256): {report.fingerprint}"),
            pairs_table("Records", ["record", "SHA-256"], {record.name: record.content() for record in report.records}),
            pairs_table("Parameters", ["parameter", "value"], values),
        ],
    )
