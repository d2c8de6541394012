"""The section on parameters, data, records and versions."""

from dataclasses import replace

from mammo.reporting.cells import (
    pairs_table,
)
from mammo.reporting.evaluation_report.content import Content, flatten_parameters, hash_artifacts, hash_records
from mammo.reporting.page import Note, Section


def build_provenance(content: Content) -> Section:
    """Build the section on parameters, data, records and versions."""
    guide = (
        "Two reports with equal fingerprint, parameters and hashes are about the same run; where they differ, the "
        "first differing row says since which stage."
    )
    tables = [
        pairs_table("Records, by stage", ["record", "SHA-256"], hash_records(content)),
        pairs_table("Artifacts, by their records", ["artifact", "SHA-256"], hash_artifacts(content.records)),
        pairs_table("Parameters", ["parameter", "value"], flatten_parameters(content.params)),
        pairs_table("Package versions", ["package", "version"], content.versions),
    ]
    notes = [Note(content.origin), Note(f"Fingerprint of the pixel store (SHA-256): {content.fingerprint}")]
    return Section("provenance", "Provenance", guide, [*notes, *(replace(table, fold=True) for table in tables)])
