"""What README and docs/ name exists: files, modules, parameters, commands; what they list is what the code says."""

import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import dependencies
import imports
import pandas as pd
import pytest
import yaml

from mammo.cli.main import build_parser
from mammo.core.config import Config

ROOT = imports.ROOT
SOURCE = ROOT / "src" / "mammo"
README = ROOT / "README.md"
TECHNICAL = ROOT / "docs/technical_documentation.md"  # has the tree and the table of reruns
NOTEBOOK = ROOT / "notebooks" / "breast_cancer_classification.ipynb"
GENERATED = ("docs/results/", "docs/data/")  # pages that the code writes from a finished run
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md"] + [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if not page.relative_to(ROOT).as_posix().startswith(GENERATED)
]
PAGES.append(NOTEBOOK)
CHECKLISTS = [ROOT / "docs/tripod-ai.md", ROOT / "docs/claim.md"]
EXAMPLES = {  # what the how-to pages add; tests/test_how_to.py executes them
    "src/mammo/models/architectures/my_net.py",
    "src/mammo/data/datasets/my_clinic.py",
    "stages/count_samples.py",
    "metrics/sample_counts.json",
    "profiles/NAME.yaml",
    "docs/results/NAME",
    "docs/data/NAME",
}
WORKSPACE = {"data", "metrics"}  # folders of what stages write
NOT_BY_A_STAGE = {"data/downloads", "data/notebook", "data/README.md", "metrics/comparison.md"}
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
PATH = re.compile(
    r"(?<![\w./~-])(?:src|stages|docs|tests|benchmarks|profiles|notebooks|requirements|data|metrics)/[\w./<>@-]*"
)
KEY = re.compile(r"(?<![\w./:@-])([a-z_]+(?:\.(?:[a-z_0-9]+|<\w+>))+)(?![\w/(])")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Return the text of a page; of a notebook that of its Markdown cells."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def code_spans(page: Path) -> str:
    """Return what a page sets as code, inline or in blocks, a line per span."""
    text = text_of(page)
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *inline])


def outputs() -> set[str]:
    """Return what the stages write, with <name> for what dvc.yaml iterates over."""
    paths = set()
    for stage in STAGES.values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            paths.add(re.sub(r"\$\{[^}]*\}", "<name>", path))
    return paths


def exists(path: str) -> bool:
    """Whether a path of the repository is there; <name> stands for any name, a folder may end in a slash."""
    return any(ROOT.glob(re.sub(r"<\w+>", "*", path.rstrip("/"))))


def is_written(path: str) -> bool:
    """Whether a stage writes a path, something in it, or a folder around it."""
    return any(agree(path, out) for out in outputs() | NOT_BY_A_STAGE)


def agree(path: str, out: str) -> bool:
    """Whether two paths are the same as far as the shorter one goes; <name> stands for any name."""
    pairs = zip(*(re.sub(r"<\w+>", "*", name.rstrip("/")).split("/") for name in (path, out)), strict=False)
    return all(fnmatch(one, other) or fnmatch(other, one) for one, other in pairs)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    for mention in sorted(set(PATH.findall(text_of(page)))):
        path = mention.rstrip(".")
        if path in EXAMPLES:
            continue
        is_output = path.split("/")[0] in WORKSPACE
        assert exists(path) or (is_output and is_written(path)), f"{page_id(page)} names {path}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page_id(page)} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_column_of_a_page_has_a_head(page: Path) -> None:
    """A screen reader reads the head with each cell."""
    lines = text_of(page).splitlines()
    heads = [head for head, rule in itertools.pairwise(lines) if re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rule)]
    assert not [head for head in heads if not all(cell.strip() for cell in head.strip().strip("|").split("|"))]


def define(module: Path) -> set[str]:
    """Return the names that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def stale_modules(text: str) -> list[str]:
    """Return the dotted names of this package in a text that are no module and no name in one."""
    names = set(re.findall(r"(?<![\w/.'\"-])mammo(?:\.[A-Za-z_]+)+", text))
    return sorted(name for name in names if not is_defined(name) and name != "mammo.db")


def is_defined(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    module = imports.file_of(parent)
    return bool(imports.file_of(name) or (module and last in define(module)))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    assert not stale_modules(text_of(page))


@pytest.mark.parametrize("folder", ["src", "stages", "benchmarks"])
def test_every_module_that_the_code_names_exists(folder: str) -> None:
    stale = {file.name: stale_modules(file.read_text()) for file in (ROOT / folder).rglob("*.py")}
    assert not {name: names for name, names in stale.items() if names}


def is_key(words: list[str]) -> bool:
    """Whether dotted words are a key of params.yaml; in a mapping any name will do."""
    section: Any = Config
    for word in words:
        if get_origin(section) is dict:
            section = get_args(section)[1]
        elif word in getattr(section, "model_fields", {}):
            section = section.model_fields[word].annotation
        else:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_parameter_that_a_page_names_exists(page: Path) -> None:
    keys = {key for key in KEY.findall(code_spans(page)) if key.split(".")[0] in Config.model_fields}
    suffixes = ("py", "json", "csv", "md", "html", "png", "yaml")
    for key in sorted(key for key in keys if key.rpartition(".")[2] not in suffixes):
        assert is_key(key.split(".")), f"{page_id(page)} names {key}, which is no key of params.yaml"


@pytest.mark.parametrize("key", ["train.monitors", "models.light_cnn.solver", "evaluate.rules", "seed.models"])
def test_an_unknown_parameter_is_noticed(key: str) -> None:
    assert not is_key(key.split("."))


def commands(page: Path, start: str) -> Iterator[list[str]]:
    """Yield the words of each command of a page that begins so."""
    for line in code_spans(page).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\||;| > ", line):
            if part.strip().startswith(start):
                yield shlex.split(part.strip().removeprefix(start), comments=True)


def is_placeholder(words: list[str]) -> bool:
    return not words or any(word in ("...", "COMMAND", "--help") for word in words)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    for words in commands(page, "python -m mammo"):
        if not is_placeholder(words):
            parse(page, words)


def parse(page: Path, words: list[str]) -> None:
    known = dict(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]
    assert words[0] in known, f"{page_id(page)}: there is no command {words[0]!r}"
    if len(words) == 1:
        return  # the command's name alone, without what it needs
    try:
        build_parser().parse_args(words)
    except SystemExit:
        pytest.fail(f"{page_id(page)}: `python -m mammo {shlex.join(words)}` is not understood")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands(page, "make "):
        assert words[0] in targets, f"{page_id(page)}: there is no `make {words[0]}`"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_stage_that_a_page_runs_exists(page: Path) -> None:
    for words in commands(page, "dvc repro"):
        names = {word.split("@")[0] for word in words if not word.startswith("-")}
        assert names <= {*STAGES, "count_samples"}, f"{page_id(page)}: dvc repro {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_changed_parameter_of_an_experiment_exists(page: Path) -> None:
    for words in commands(page, "dvc exp run"):
        for change in (following for word, following in itertools.pairwise(words) if word == "-S"):
            key = change.split("=")[0].lstrip("~+").split(".")
            assert is_key(key), f"{page_id(page)}: dvc exp run -S {change}"
            # As Hydra has it: + adds a key that params.yaml leaves out, ~ and nothing name one that it has.
            assert stands_in_params(key) != change.startswith("+"), f"{page_id(page)}: dvc exp run -S {change}"


def stands_in_params(words: list[str]) -> bool:
    section: Any = yaml.safe_load((ROOT / "params.yaml").read_text())
    for word in words:
        if word not in section:
            return False
        section = section[word]
    return True


# The tree and the table of reruns


def first_sentence(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring, f"{file} has no docstring"
    return " ".join(docstring.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def documented_tree() -> dict[str, str]:
    """Return the lines of the tree below src/mammo/: what stands there, by path."""
    lines = TECHNICAL.read_text().split("\nsrc/mammo/ ")[1].splitlines()[1:]
    tree, folder = {}, ""
    for line in lines:
        match = re.fullmatch(r"( +)([\w.]+/?) +(.*)", line)
        if not match:
            break
        indent, name, text = match.groups()
        folder = name if len(indent) == 2 else folder
        tree[name if len(indent) == 2 else folder + name] = text
    return tree


def test_the_tree_has_the_packages_and_says_what_their_docstrings_say() -> None:
    packages = [path for path in SOURCE.rglob("__init__.py") if path.parent != SOURCE]
    listed = [path for path in packages if len(path.relative_to(SOURCE).parts) == 2]
    listed += [path for path in packages if path.parent.parent.name in ("data", "models")]
    expected = {f"{path.parent.relative_to(SOURCE).as_posix()}/": first_sentence(path) for path in listed}
    expected["api.py"] = first_sentence(SOURCE / "api.py")
    assert documented_tree() == expected


def test_the_tree_is_in_the_order_of_the_imports() -> None:
    contract = re.search(r"layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), flags=re.DOTALL)
    assert contract
    layers = re.findall(r"mammo\.(\w+)", contract[1])
    top = [name.rstrip("/").removesuffix(".py") for name in documented_tree() if "/" not in name.rstrip("/")]
    assert top == [name for name in layers if name in top]


@cache
def code_of(stage: str) -> set[str]:
    """Return the code that a stage rests on; tests/stages/test_dvc_yaml.py compares dvc.yaml with it."""
    chosen = {re.sub(r"\$\{item[^}]*\}", "<name>", dep) for dep in STAGES[stage]["deps"] if "/architectures/" in dep}
    return dependencies.dependencies(stage, uses_architecture=bool(chosen)) | chosen


def stages_reading(path: str) -> list[str]:
    """Return the stages that an edit of a file or folder reruns directly; `publish` runs always and is not counted."""
    path = path.rstrip("/")
    names = [name for name in STAGES if name != "publish"]
    return [
        name
        for name in names
        if any(path == dep or path.startswith(f"{dep}/") or dep.startswith(f"{path}/") for dep in code_of(name))
    ]


def test_the_table_of_reruns_is_what_the_imports_say() -> None:
    section = TECHNICAL.read_text().split("### What an edit reruns")[1].split("\n#")[0]
    rows = re.findall(r"^\| [^|]+ \| `(src/[^`]+)` \| ([^|]+) \|$", section, flags=re.MULTILINE)
    assert len(rows) >= 6
    for path, text in rows:
        listed = [name for name in re.findall(r"`(\w+)`", text) if name != "publish"]
        assert listed == stages_reading(path), f"an edit of {path} reruns {stages_reading(path)}"


def test_a_comment_in_what_is_measured_trains_nothing() -> None:
    trainings = {"train", "continue_training", "seeds", "cross_validate"}
    assert not trainings & set(stages_reading("src/mammo/metrics/classification.py"))


def test_the_technical_documentation_lists_every_stage_in_its_order() -> None:
    text = TECHNICAL.read_text()
    table = text.split("| stage | reads | writes |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)(?:@<[^>]+>)?`", row.split("|")[1])]
    assert sorted(named) == sorted(STAGES)


def test_the_reference_has_a_page_for_each_package() -> None:
    pages = {re.search(r"^::: (mammo\.\w+)", page.read_text(), flags=re.MULTILINE)[1] for page in REFERENCE}  # type: ignore[index]
    packages = {f"mammo.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
    assert pages == packages | {"mammo.api"}


REFERENCE = sorted((ROOT / "docs/reference").glob("*.md"))

# README

MEASURED = re.compile(r"(?:docs/results|docs/shortcuts|docs/data|metrics)/[\w./-]+\.(?:csv|md|json)")
NUMBER = re.compile(r"(?<![\w.])\d*\.\d{3,}(?![\w.]*\d|/)")  # no DOI
LITERATURE: set[str] = set()  # numbers of README that others published; name the source beside each


def sections(text: str) -> list[str]:
    """Return a page's sections, each from its heading on."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


def rounded_numbers(file: Path) -> set[str]:
    """Return the decimal numbers of a file without their signs, to three digits."""
    return {f"{float(number):.3f}" for number in re.findall(r"\d*\.\d+", file.read_text())}


def unsupported(section: str) -> set[str]:
    """Return the numbers of a section with three or more decimals that stand in no file of results that it names."""
    files = {ROOT / name for name in MEASURED.findall(section)}
    known = {number for file in files if file.is_file() for number in rounded_numbers(file)}
    return {number for number in NUMBER.findall(section) if number not in known | LITERATURE}


def test_every_number_of_the_readme_stands_in_a_file_that_its_section_names() -> None:
    assert any(NUMBER.findall(section) for section in sections(README.read_text()))
    for section in sections(README.read_text()):
        assert not unsupported(section), f"README, {section.splitlines()[0]}: in no file of results that it names"


def test_a_number_that_no_file_holds_is_noticed() -> None:
    named = "See [all](docs/results/cbis-ddsm-mass.csv): "
    assert unsupported(f"{named} 0.829 (0.769\N{EN DASH}0.883), 0.123") == {"0.123"}
    assert unsupported("0.829, and no file") == {"0.829"}
    assert unsupported(f"{named} .829") == {".829"}, "0.829 is how it is written"


def test_differences_of_rows_are_those_of_the_table() -> None:
    """Rows of cbis-ddsm-mass-comparisons.csv that are taken from the table itself."""
    table = pd.read_csv(ROOT / "docs/results/cbis-ddsm-mass.csv").set_index("model")["auc"]
    comparisons = pd.read_csv(ROOT / "docs/results/cbis-ddsm-mass-comparisons.csv")
    derived = comparisons[comparisons["b"].notna()]
    assert len(derived) == 4
    for _, row in derived.iterrows():
        assert row["value"] == pytest.approx(table[row["a"]] - table[row["b"]], abs=6e-4)
    assert comparisons["source"].notna().all()


def test_the_readme_counts_the_missed_targets() -> None:
    table = pd.read_csv(ROOT / "docs/results/cbis-ddsm-mass.csv")
    models = table[~table["model"].str.startswith("baseline_")]
    below, whole_interval = (models[name] < 0.9 for name in ("sensitivity", "sensitivity_high"))
    text = " ".join(README.read_text().split())
    assert f"Of {len(models)} models, {below.sum()} fall below it on test, {whole_interval.sum()} of them" in text


def test_the_readme_is_short_and_its_first_screen_says_what_the_commands_do() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    first_screen = "\n".join(lines[:20])
    assert re.search(
        r"^make run +# sets everything up and runs `dvc repro` on the embedded default", first_screen, re.M
    )
    assert re.search(r"^make test +# sets everything up and passes the tests", first_screen, re.M)
    assert not re.search(r"(?<![\w.])\.\d", README.read_text()), "0.592, not .592"


def test_the_pictures_of_the_readme_are_small() -> None:
    pictures = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)$", README.read_text(), flags=re.MULTILINE)
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version and citation["version"] == version[1]


# The checklists


def items(checklist: Path) -> list[tuple[str, str, str, str]]:
    """Return item, question, status and answer of each row."""
    rows = [line.strip("|").split("|") for line in checklist.read_text().splitlines() if re.match(r"\| \d", line)]
    return [(row[0].strip(), row[1].strip(), row[2].strip(), row[3].strip()) for row in rows]


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=page_id)
def test_every_item_has_a_status(checklist: Path) -> None:
    assert len(items(checklist)) > 40
    assert {status for _, _, status, _ in items(checklist)} <= {"answered", "partly", "open", "not applicable"}


def section_titles() -> set[str]:
    """Return the texts in the code and the templates of the reports, titles of sections among them."""
    texts = set()
    for file in (SOURCE / "reporting").rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        texts |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    card = (SOURCE / "reporting/templates/model_card.md.j2").read_text()
    return texts | set(re.findall(r"^#+ (.*)$", card, flags=re.MULTILINE))


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=page_id)
def test_every_section_that_an_answer_names_is_in_the_report(checklist: Path) -> None:
    titles = section_titles()
    for item, _, _, answer in items(checklist):
        for named in re.findall(r"(?:report|model card): ([A-Z][^;.]*)", answer):
            parts = [part.strip() for part in re.split(r"[,(]", named)]
            for part in (part for part in parts if part[:1].isupper() and part not in ("BI-RADS",)):
                assert any(title.startswith(part) for title in titles), f"{page_id(checklist)}, item {item}: {part!r}"


DENIALS = {  # what a checklist must not deny, as long as the repository has it
    r"\bno (\w+ )?(repeated )?seeds": "stages/seeds.py",
    r"no perturbation": "src/mammo/explain/sanity_checks.py",
    r"no flow diagram": "docs/data/cbis-ddsm-mass/flow.png",
    r"no (result|figure)? ?of (grad-cam|heat maps)": "stages/gradcam.py",
    r"no cross-validation": "stages/cross_validate.py",
    r"only as far as a stage scores": "src/mammo/explain/localization.py",
    r"no other difference is tested": "src/mammo/data/cohort/leakage.py",
}


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=page_id)
def test_no_answer_denies_what_the_repository_has(checklist: Path) -> None:
    for item, _, _, answer in items(checklist):
        for denial, file in DENIALS.items():
            assert (ROOT / file).is_file(), f"{file} is gone: take its line out of DENIALS"
            assert not re.search(denial, answer, flags=re.IGNORECASE), f"{page_id(checklist)}, item {item}: {answer}"


@pytest.mark.parametrize(
    ("checklist", "item", "names"),
    [
        ("docs/claim.md", "30", ["seeds@", "cross_validate@", "gradcam@", "retrained_maps@"]),
        ("docs/claim.md", "31", ["gradcam@", "retrained_maps@"]),
        ("docs/claim.md", "33", ["external@"]),
        ("docs/claim.md", "35", ["flow.png"]),
        ("docs/tripod-ai.md", "12c", ["cross_validate@", "seeds@"]),
        ("docs/tripod-ai.md", "20a", ["flow.png"]),
        ("docs/tripod-ai.md", "27c", ["external@"]),
    ],
)
def test_an_answer_names_the_stages_that_do_it(checklist: str, item: str, names: list[str]) -> None:
    status, answer = next((status, answer) for row, _, status, answer in items(ROOT / checklist) if row == item)
    assert status != "open"
    for name in names:
        assert name in answer
        assert not name.endswith("@") or name.rstrip("@") in STAGES
