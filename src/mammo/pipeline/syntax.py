"""Compare two versions of a Python file as programs: comments, docstrings, formatting and annotations do not count.

What a program reads of itself at run time counts again. The rules err on the side of a difference:

- An annotation in the body of a class stays: dataclasses, pydantic models, NamedTuple and TypedDict are made of them.
- The annotations of a function stay where a decorator may read them (singledispatch, validators, command lines), that
  is, where it or its class has a decorator that INERT_DECORATORS does not name, and where evaluating them could do
  something (a call) or they carry data (Annotated).
- Docstrings, annotations or the text itself stay where the program names what reads them: `Introspection`.

Text that is opened as a file (`Path(__file__).read_text()`) is not noticed.
"""

import ast
import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

# They neither read annotations nor hand the function to what does.
INERT_DECORATORS = frozenset(
    {
        *("property", "staticmethod", "classmethod", "abc.abstractmethod"),
        *("functools.cache", "functools.cached_property", "functools.lru_cache", "functools.total_ordering"),
        *("functools.wraps", "contextlib.contextmanager", "dataclasses.dataclass", "enum.unique"),
        *("typing.final", "typing.no_type_check", "typing.overload", "typing.runtime_checkable"),
    }
)
INERT_METHODS = (".setter", ".getter", ".deleter")  # of a property


class Introspection(enum.Flag):
    """What a program reads of its own code."""

    NONE = 0
    DOCSTRINGS = enum.auto()
    ANNOTATIONS = enum.auto()
    SOURCE = enum.auto()


# Names by which a program reads its code. A bare `__doc__` is its own (`first_difference`), `f.__doc__` any module's.
READERS = {
    Introspection.DOCSTRINGS: "__doc__ getdoc inspect",
    Introspection.ANNOTATIONS: "__annotations__ get_type_hints get_annotations inspect singledispatch "
    "singledispatchmethod validate_call create_model computed_field PlainSerializer WrapSerializer",
    Introspection.SOURCE: "getsource getsourcelines getcomments findsource linecache _getframe "
    "currentframe f_lineno co_firstlineno __code__",
}
MENTIONS = re.compile("|".join(" ".join(READERS.values()).split()).encode())


@dataclass(frozen=True)
class Difference:
    """The first place at which two programs differ: line numbers from 1, None where a version lacks it."""

    line_before: int | None
    line_after: int | None
    text_before: str
    text_after: str


@lru_cache(maxsize=4096)
def introspection(source: bytes) -> Introspection:
    """Return what a module may read of the code of any module; one that is not valid Python reads nothing."""
    reads = Introspection.NONE
    if MENTIONS.search(source):  # most mention nothing, and parsing takes time
        try:
            names = set(_names(ast.parse(source)))
        except (SyntaxError, ValueError):
            return reads
        for what, readers in READERS.items():
            if names.intersection(readers.split()):
                reads |= what
    return reads


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module uses: variables but its own docstring, attributes, imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name != "__doc__":
                yield name
            case ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.ImportFrom(module=str(name)):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name


@lru_cache(maxsize=4096)
def first_difference(before: bytes, after: bytes, reads: Introspection = Introspection.NONE) -> Difference | None:
    """Return where two versions of a module first differ as programs; None where they are the same.

    A file that does not exist is an empty one. reads: what other modules of the program read of their code.
    Raise SyntaxError where a version is not valid Python.
    """
    for source in (before, after):
        reads |= introspection(source)
        if b"__doc__" in source:
            reads |= Introspection.DOCSTRINGS
    if Introspection.SOURCE in reads:
        lines = _differing_lines(before, after)
    else:
        lines = _differing_nodes(_normalized(before, reads), _normalized(after, reads), (None, None))
    first = min(lines, key=lambda pair: pair[1] or pair[0] or 0, default=None)
    return None if first is None else Difference(*first, _line(before, first[0]), _line(after, first[1]))


Lines = tuple[int | None, int | None]


def _differing_lines(before: bytes, after: bytes) -> Iterator[Lines]:
    for number, (old, new) in enumerate(zip_longest(before.splitlines(True), after.splitlines(True)), start=1):
        if old != new:
            yield None if old is None else number, None if new is None else number


def _differing_nodes(before: object, after: object, lines: Lines) -> Iterator[Lines]:
    """Yield the lines of all differences of two trees; lines: those of the nodes around them."""
    if isinstance(before, list) and isinstance(after, list):
        for old, new in zip_longest(before, after):
            yield from _differing_nodes(old, new, lines)
    elif isinstance(before, ast.AST) and type(before) is type(after):
        here = _start(before, lines[0]), _start(after, lines[1])
        for field in before._fields:
            if field != "kind":  # the u of u"text"
                yield from _differing_nodes(getattr(before, field, None), getattr(after, field, None), here)
    elif type(before) is not type(after) or before != after:  # 1, 1.0 and True are equal, but not the same
        yield _start(before, lines[0]), _start(after, lines[1])


def _start(node: object, around: int | None) -> int | None:
    return None if node is None else getattr(node, "lineno", around)


def _line(source: bytes, number: int | None) -> str:
    lines = source.splitlines()
    return "" if number is None or number > len(lines) else lines[number - 1].decode(errors="replace").strip()


def _normalized(source: bytes, reads: Introspection) -> ast.Module:
    """Return the syntax tree without what does not count. Bytes, so that a coding comment is obeyed."""
    try:
        tree = ast.parse(source)
    except ValueError as error:  # null bytes
        raise SyntaxError(str(error)) from None
    normalizer = _Normalizer(reads, _imported_names(tree))
    normalizer.visit(tree)
    return tree


class _Normalizer(ast.NodeTransformer):
    """Removes docstrings and annotations in place; where it stands in classes is its state."""

    def __init__(self, reads: Introspection, imported: dict[str, str]) -> None:
        self._reads = reads
        self._imported = imported
        self._in_class = False
        self._class_reads = False  # a decorator of the class may read the annotations of its methods

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if not isinstance(node, ast.Module) and getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._visit_scope(node, in_class=True, class_reads=self._may_read(node.decorator_list))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a text that stands alone: a docstring, or the same below an attribute."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if is_text and Introspection.DOCSTRINGS not in self._reads:
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Make `x: int = 3` of a module or a function `x = 3`, and drop `x: int`.

        A bare `x: int` makes x local to its function; without it, reading an x that was never set finds another or
        fails elsewhere. A program that ran to its end has not read such an x.
        """
        self.generic_visit(node)
        if self._in_class or Introspection.ANNOTATIONS in self._reads or not _is_inert(node.annotation):
            return node
        if node.value is not None:
            return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)
        return None if isinstance(node.target, ast.Name) else node

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        if not (
            Introspection.ANNOTATIONS in self._reads
            or (self._in_class and self._class_reads)
            or self._may_read(node.decorator_list)
        ):
            _drop_annotations(node)
        return self._visit_scope(node, in_class=False, class_reads=False)

    def _visit_scope(self, node: ast.AST, in_class: bool, class_reads: bool) -> ast.AST:
        around = self._in_class, self._class_reads
        self._in_class, self._class_reads = in_class, class_reads
        self.generic_visit(node)
        self._in_class, self._class_reads = around
        return node

    def _may_read(self, decorators: list[ast.expr]) -> bool:
        names = (_dotted_name(decorator, self._imported) for decorator in decorators)
        return any(name not in INERT_DECORATORS and not name.endswith(INERT_METHODS) for name in names)


def _drop_annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    arguments = node.args
    more = (argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None)
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *more):
        if argument.annotation is not None and _is_inert(argument.annotation):
            argument.annotation = None
    if node.returns is not None and _is_inert(node.returns):
        node.returns = None


def _is_inert(annotation: ast.expr) -> bool:
    """Return whether evaluating an annotation does nothing, and it carries no data."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Call | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if "Annotated" in (getattr(node, "id", None), getattr(node, "attr", None)):
            return False
    return True


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Return where the imported names of a module come from: {"cache": "functools.cache", "ft": "functools"}."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            origins |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names}
    return origins


def _dotted_name(decorator: ast.expr, imported: dict[str, str]) -> str:
    """Return the full name of a decorator, without its arguments; "" where it is no name."""
    if isinstance(decorator, ast.Call):
        return _dotted_name(decorator.func, imported)
    if isinstance(decorator, ast.Attribute):
        return f"{_dotted_name(decorator.value, imported)}.{decorator.attr}"
    return imported.get(decorator.id, decorator.id) if isinstance(decorator, ast.Name) else ""
