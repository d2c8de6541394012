"""The section on samples at the limits of `ingest.checks`, and on excluded ones, with pictures on the HTML page alone.

No label stands beside a film: whether film, mask and crop belong together is judged without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mammo.core.config import ChecksConfig
from mammo.core.schemas import KEY, VIEW_SEPARATOR
from mammo.data.datasets import OUT_OF_SCOPE
from mammo.data.images import mark_views
from mammo.data.images.dicom import PixelError
from mammo.reporting.data_report.cells import omit_section
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.figures import overlays, png
from mammo.reporting.page import Block, Cell, Note, Picture, Pictures, Section, Table

SECTION = "odd-samples"
PER_LIMIT = 3
EXCLUDED_SHOWN = 12
FILE = ["image_path", "mask_path", "crop_path"]


@dataclass(frozen=True)
class Limit:
    """A limit of `ingest.checks`: of which column of schemas.CHECKS, and whether it is the least allowed value."""

    measure: str
    title: str
    value: float
    is_least: bool
    format: Callable[[float], str]

    def is_broken(self, value: float) -> bool:
        """Say whether a value lies beyond the limit."""
        return value < self.value if self.is_least else value > self.value

    def describe(self) -> str:
        """Return the limit in words."""
        return f"at {'least' if self.is_least else 'most'} {self.format(self.value)}"


def list_limits(checks: ChecksConfig) -> list[Limit]:
    """List the limits in the order of params.yaml."""
    least, most = checks.marked_share
    return [
        Limit("marked_share", "Smallest marked share of the film", least, True, _format_share),
        Limit("marked_share", "Largest marked share of the film", most, False, _format_share),
        Limit("inside_breast", "Smallest part of a mask inside the breast", checks.inside_breast, True, _format_share),
        Limit("spread", "Smallest SD of the greys around a lesion (of 255)", checks.spread, True, "{:.1f}".format),
        Limit("crop_correlation", "Smallest correlation of a crop with its place on the film",
              checks.crop_correlation, True, "{:.3f}".format),
    ]  # fmt: skip


def _format_share(share: float) -> str:
    return f"{100 * share:.3g} %"


def select_nearest(checks: pd.DataFrame, limit: Limit) -> pd.DataFrame:
    """Return the usable rows of `checks` (schemas.CHECKS) that are nearest to a limit or beyond it."""
    usable = checks[checks["reason"].isna() & checks[limit.measure].notna()]
    return usable.sort_values([limit.measure, "sample_id"], ascending=[limit.is_least, True]).head(PER_LIMIT)


def list_excluded(checks: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    """Return the excluded rows whose film is known, doubted ones first, with their files: sample_id, FILE, reason.

    checks: schemas.CHECKS; excluded: schemas.EXCLUDED.
    """
    doubted = checks[checks["reason"].notna()]
    others = excluded.reindex(columns=[*KEY, "image_path", "reason"])
    others = others[others["image_path"].notna() & ~others["reason"].str.startswith(OUT_OF_SCOPE)]
    names = ["_".join(key) for key in others[KEY].fillna("unknown").itertuples(index=False, name=None)]
    films = pd.Series([path.split(VIEW_SEPARATOR) for path in others["image_path"]], others.index, dtype=object)
    others = others.assign(sample_id=names, image_path=films).explode("image_path")
    others = others[~others["image_path"].isin(doubted["image_path"])]
    rows = pd.concat([doubted, others.drop_duplicates(["image_path", "reason"])], ignore_index=True)
    return rows.reindex(columns=["sample_id", *FILE, "reason"])


def build_odd_samples(report: DataReport) -> Section:
    """Build the section, without a film: the values of the samples nearest to each limit."""
    title = "Samples at the limits"
    guide = (
        "Ingest measures every film, mask and crop, and excludes what is beyond a limit of ingest.checks. The samples "
        "nearest to each limit are the ones to look at first: a wrong film, mask or crop that was let through would "
        "stand here."
    )
    checks = report.checks
    if checks is None or checks["marked_share"].isna().all():
        return omit_section(SECTION, title, guide, "ingest measured no mask")
    groups = [
        (limit.title, _limit_rows(select_nearest(checks, limit), limit))
        for limit in list_limits(report.params.ingest.checks)
    ]
    head = ["sample", "value", "limit"]
    return Section(SECTION, title, guide, [_count_measured(checks), Table("Nearest to each limit", head, groups)])


def _count_measured(checks: pd.DataFrame) -> Note:
    masks, crops = checks["marked_share"].notna().sum(), checks["crop_correlation"].notna().sum()
    doubted = checks.loc[checks["reason"].notna(), "sample_id"].nunique()
    return Note(
        f"{masks:,} masks were measured, and {crops:,} of their crops could be compared with the film; "
        f"{doubted:,} sample{'' if doubted == 1 else 's'} of {checks['sample_id'].nunique():,} "
        f"{'was' if doubted == 1 else 'were'} excluded for what the pixels show."
    )


def _limit_rows(rows: pd.DataFrame, limit: Limit) -> list[list[Cell]]:
    return [
        [
            Cell(str(row["sample_id"])),
            Cell(
                limit.format(row[limit.measure]), float(row[limit.measure]), warning=limit.is_broken(row[limit.measure])
            ),
            Cell(limit.describe(), limit.value),
        ]
        for _, row in rows.iterrows()
    ]


def draw_odd_samples(
    root: Path, checks: pd.DataFrame, excluded: pd.DataFrame, limits: ChecksConfig
) -> dict[str, list[Picture]]:
    """Draw the samples nearest to each limit and excluded ones, by the title of their group; files lie below `root`.

    checks: schemas.CHECKS; excluded: schemas.EXCLUDED. A film that cannot be decoded has no picture.
    """
    pictures = {
        limit.title: [
            picture
            for _, row in select_nearest(checks, limit).iterrows()
            if (picture := _draw(root, row, f"{limit.format(row[limit.measure])} ({limit.describe()})"))
        ]
        for limit in list_limits(limits)
    }
    left_out = list_excluded(checks, excluded)
    drawn = (_draw(root, row, f"excluded: {row['reason']}") for _, row in left_out.iterrows())
    shown = [picture for _, picture in zip(range(EXCLUDED_SHOWN), filter(None, drawn), strict=False)]
    title = f"Excluded rows ({len(shown)} of {len(excluded):,} are shown; all: data/excluded.csv)"
    return {name: group for name, group in (pictures | {title: shown}).items() if group}


def _draw(root: Path, row: "pd.Series", text: str) -> Picture | None:
    paths = [None if pd.isna(row[name]) else str(row[name]) for name in FILE]
    try:
        view = mark_views.view_mark(root, str(paths[0]), paths[1], paths[2])
    except PixelError:
        return None
    parts = ["the film"] if view.around is None else ["the film with its mask outlined", "the film around the mask"]
    parts += [] if view.crop is None else ["the published crop"]
    image = png.encode_webp(overlays.encode_mark(view.film, view.mask, [view.around, view.crop]))
    return Picture(f"{row['sample_id']}: {', '.join(parts)}", f"{row['sample_id']}: {text}", image)


def add_pictures(section: Section, pictures: Mapping[str, Sequence[Picture]]) -> Section:
    """Return the section with the pictures, by group, before its table, which is folded then."""
    drawn: list[Block] = [
        block for title, group in pictures.items() for block in (Note(title), Pictures(list(group), size="third"))
    ]
    kept = [replace(block, fold=True) if isinstance(block, Table) else block for block in section.blocks]
    return replace(section, blocks=[*kept[:1], *drawn, *kept[1:]] if drawn else section.blocks)
