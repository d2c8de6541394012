"""Results that display themselves in a notebook: tables as DataFrames, figures as matplotlib Figures."""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

DPI = 60  # of a displayed figure: a notebook stores what it displays


@dataclass(frozen=True)
class NotebookResult:
    """The result of a function of mammo.api; a cell that ends with it displays its tables and figures."""

    title: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        parts = [f"<h4>{html.escape(self.title)}</h4>"]
        for title, table in self.tables.items():
            parts.append(f"<p><b>{html.escape(title)}</b></p>{table.to_html(border=0, float_format='{:.3f}'.format)}")
        for title, figure in self.figures.items():
            parts.append(f'<p><b>{html.escape(title)}</b></p><img alt="{html.escape(title)}" src="{_inline(figure)}">')
        return "\n".join(parts)

    def __repr__(self) -> str:
        texts = [self.title, *(f"{title}\n{table.to_string()}" for title, table in self.tables.items())]
        return "\n\n".join([*texts, *(f"[figure: {title}]" for title in self.figures)])


def _inline(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
