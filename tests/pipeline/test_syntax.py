"""What makes two versions of a Python file the same program, and what does not."""

import ast
import textwrap
from pathlib import Path

import pytest

from mammo.pipeline import syntax
from mammo.pipeline.syntax import Introspection, first_difference

REPOSITORY = Path(__file__).resolve().parents[2]

SAME = {
    "comment": ("x = 1\n", "# why\nx = 1  # because\n"),
    "comment at the end": ("x = 1\n", "x = 1\n# end"),
    "module docstring": ("x = 1\n", '"""Doc."""\nx = 1\n'),
    "docstring reworded": (
        'def f():\n    """Old."""\n    return 1\n',
        'def f():\n    """New\n\n    more."""\n    return 1\n',
    ),
    "docstring instead of pass": ("def f():\n    pass\n", 'def f():\n    """Doc."""\n'),
    "class docstring": ("class A:\n    x = 1\n", 'class A:\n    """Doc."""\n\n    x = 1\n'),
    "docstring of an exception": ("class A(Exception):\n    pass\n", 'class A(Exception):\n    """Doc."""\n'),
    "text below an attribute": ("class A:\n    x = 1\n", 'class A:\n    x = 1\n    """What x is."""\n'),
    "text alone in a branch": ("if x:\n    pass\n", 'if x:\n    "nothing"\n'),
    "async docstring": ("async def f():\n    return 1\n", 'async def f():\n    """Doc."""\n    return 1\n'),
    "line breaks": ("f(a, b)\n", "f(\n    a,\n    b,\n)\n"),
    "quotes": ("x = 'a'\n", 'x = "a"\n'),
    "joined text": ("x = 'ab'\n", 'x = "a" "b"\n'),
    "u prefix": ("x = 'a'\n", "x = u'a'\n"),
    "parentheses": ("x = a + b * c\n", "x = (a + (b * c))\n"),
    "number": ("x = 1000\n", "x = 1_000\n"),
    "blank lines and semicolons": ("x = 1; y = 2\n", "x = 1\n\n\ny = 2\n"),
    "tabs and line ends": ("if x:\n\ty = 1\n", "if x:\r\n    y = 1\r\n"),
    "indentation": ("if x:\n  y = 1\n", "if x:\n        y = 1\n"),
    "argument annotation": ("def f(a, b=1):\n    pass\n", "def f(a: int, b: 'str' = 1):\n    pass\n"),
    "every kind of argument": (
        "def f(a, /, b, *c, d, **e):\n    pass\n",
        "def f(a: int, /, b: int, *c: int, d: int, **e: int) -> None:\n    pass\n",
    ),
    "return annotation": ("def f():\n    pass\n", "def f() -> dict[str, int] | None:\n    pass\n"),
    "async annotation": ("async def f(a):\n    pass\n", "async def f(a: int) -> None:\n    pass\n"),
    "method annotation": (
        "class A:\n    def f(self, a):\n        x = a\n",
        "class A:\n    def f(self, a: int) -> None:\n        x: int = a\n",
    ),
    "module constant": ("X = 3\n", "X: Final[int] = 3\n"),
    "local variable": ("def f():\n    x = 3\n", "def f():\n    x: int = 3\n"),
    "attribute of self": (
        "class A:\n    def f(self):\n        self.x = 3\n",
        "class A:\n    def f(self):\n        self.x: int = 3\n",
    ),
    "declared local": ("def f():\n    return 1\n", "def f():\n    x: int\n    return 1\n"),
    "only a declaration": ("def f():\n    pass\n", "def f():\n    x: int\n"),
    "declared at module level": ("y = 1\n", "x: int\ny = 1\n"),
    "property": (
        "class A:\n    @property\n    def f(self):\n        return 1\n",
        "class A:\n    @property\n    def f(self) -> int:\n        return 1\n",
    ),
    "setter": (
        "class A:\n    @x.setter\n    def x(self, v):\n        pass\n",
        "class A:\n    @x.setter\n    def x(self, v: int) -> None:\n        pass\n",
    ),
    "cache by module": (
        "import functools as ft\n@ft.lru_cache(maxsize=2)\ndef f(a):\n    pass\n",
        "import functools as ft\n@ft.lru_cache(maxsize=2)\ndef f(a: int) -> None:\n    pass\n",
    ),
    "cache by name": (
        "from functools import cache as c\n@c\ndef f(a):\n    pass\n",
        "from functools import cache as c\n@c\ndef f(a: int):\n    pass\n",
    ),
    "method of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass()\nclass A:\n    x: int\n    def f(self):\n        pass\n",
        "import dataclasses\n@dataclasses.dataclass()\nclass A:\n    x: int\n    def f(self) -> int:\n        pass\n",
    ),
    "blank file": ("", "\n\n# nothing here\n"),
    "file with a docstring alone": ("", '"""What this package is."""\n'),
}

DIFFERENT = {
    "constant": ("x = 1\n", "x = 2\n"),
    "kind of number": ("x = 1\n", "x = 1.0\n"),
    "true and one": ("x = 1\n", "x = True\n"),
    "sign of zero": ("x = 0.0\n", "x = -0.0\n"),
    "bytes": ("x = 'a'\n", "x = b'a'\n"),
    "text in an f-string": ("x = f'{a} b'\n", "x = f'{a}  b'\n"),
    "name": ("x = a\n", "x = b\n"),
    "operator": ("x = a + b\n", "x = a - b\n"),
    "grouping": ("x = a - b - c\n", "x = a - (b - c)\n"),
    "tuple": ("x = (1)\n", "x = (1,)\n"),
    "default": ("def f(a=1):\n    pass\n", "def f(a=2):\n    pass\n"),
    "annotation becomes default": ("def f(a: int):\n    pass\n", "def f(a=int):\n    pass\n"),
    "argument name": ("def f(a):\n    pass\n", "def f(b):\n    pass\n"),
    "keyword only": ("def f(a, b):\n    pass\n", "def f(a, *, b):\n    pass\n"),
    "function name": ("def f():\n    pass\n", "def g():\n    pass\n"),
    "new decorator": ("def f():\n    pass\n", "@cache\ndef f():\n    pass\n"),
    "decorator's argument": ("@d(1)\ndef f():\n    pass\n", "@d(2)\ndef f():\n    pass\n"),
    "async": ("def f():\n    pass\n", "async def f():\n    pass\n"),
    "order": ("a()\nb()\n", "b()\na()\n"),
    "new statement": ("x = 1\n", "x = 1\ny = 2\n"),
    "removed statement": ("x = 1\ny = 2\n", "x = 1\n"),
    "import": ("x = 1\n", "import os\nx = 1\n"),
    "typing import": ("from typing import Any\n", "from typing import Any, Final\n"),
    "future import": ("x = 1\n", "from __future__ import annotations\nx = 1\n"),
    "base class": ("class A:\n    pass\n", "class A(B):\n    pass\n"),
    "text that is used": ("x = 'a'\n", "x = 'b'\n"),
    "text after another statement is returned": ("def f():\n    return 'a'\n", "def f():\n    return 'b'\n"),
    "f-string as first statement": ("def f():\n    f'{g()}'\n", "def f():\n    pass\n"),
    "field's annotation": ("class A:\n    x: int\n", "class A:\n    x: str\n"),
    "field without value": ("class A:\n    x: int\n", "class A:\n    pass\n"),
    "field made an attribute": ("class A:\n    x: int = 3\n", "class A:\n    x = 3\n"),
    "field in a branch of a class": (
        "class A:\n    if y:\n        x: int = 3\n",
        "class A:\n    if y:\n        x = 3\n",
    ),
    "field of a class in a function": (
        "def f():\n    class A:\n        x: int = 3\n",
        "def f():\n    class A:\n        x: float = 3\n",
    ),
    "field after a method": (
        "class A:\n    def f(self):\n        pass\n    x: int = 3\n",
        "class A:\n    def f(self):\n        pass\n    x: float = 3\n",
    ),
    "value of a variable": ("x: int = 3\n", "x: int = 4\n"),
    "declaration becomes assignment": ("x: int\n", "x = int\n"),
    "declared item is evaluated": ("pass\n", "f().x: int\npass\n"),
    "annotation that calls": ("def f(a):\n    pass\n", "def f(a: register('f')):\n    pass\n"),
    "variable's annotation that calls": ("x = 3\n", "x: register('x') = 3\n"),
    "annotation with data": ("def f(a: int):\n    pass\n", "def f(a: Annotated[int, Query(1)]):\n    pass\n"),
    "unknown decorator": ("@app.get('/')\ndef f(a: int):\n    pass\n", "@app.get('/')\ndef f(a: str):\n    pass\n"),
    "own decorator of a known name": (
        "@cache\ndef f(a: int):\n    pass\n",
        "@cache\ndef f(a: str):\n    pass\n",
    ),
    "decorator without a name": ("@(lambda f: f)\ndef f(a: int):\n    pass\n", "@(lambda f: f)\ndef f(a):\n    pass\n"),
    "method of a class with an unknown decorator": (
        "@checked\nclass A:\n    def f(self, a: int):\n        pass\n",
        "@checked\nclass A:\n    def f(self, a: str):\n        pass\n",
    ),
    "registered by annotation": (
        "import functools\nf = functools.singledispatch(h)\ndef g(a: int):\n    pass\nf.register(g)\n",
        "import functools\nf = functools.singledispatch(h)\ndef g(a: str):\n    pass\nf.register(g)\n",
    ),
    "type hints are read": (
        "from typing import get_type_hints\ndef f(a: int):\n    pass\n",
        "from typing import get_type_hints\ndef f(a: str):\n    pass\n",
    ),
    "own docstring is read": ('"""Old."""\nprint(__doc__)\n', '"""New."""\nprint(__doc__)\n'),
    "docstring of a function is read": (
        'def f():\n    """Old."""\nprint(f.__doc__)\n',
        'def f():\n    """New."""\nprint(f.__doc__)\n',
    ),
    "docstring appears where it is read": ("print(__doc__)\n", '"""New."""\nprint(__doc__)\n'),
    "source is read": ("import inspect\ninspect.getsource(f)\n", "import inspect\ninspect.getsource(f)  # why\n"),
    "coding comment": ("x = '\xe9'\n", "# coding: latin-1\nx = '\xe9'\n"),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME.keys())
def test_is_the_same_program(before: str, after: str):
    assert first_difference(before.encode(), after.encode()) is None
    assert first_difference(after.encode(), before.encode()) is None


@pytest.mark.parametrize(("before", "after"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_is_another_program(before: str, after: str):
    assert first_difference(before.encode(), after.encode()) is not None
    assert first_difference(after.encode(), before.encode()) is not None


def test_same_programs_compile_to_the_same_code():
    """What is called the same compiles alike once annotations and docstrings are gone: an independent witness."""
    for name, (before, after) in SAME.items():
        if "annotation" in name or "argument" in name or before == "":
            continue
        trees = [syntax._normalized(version.encode(), Introspection.NONE) for version in (before, after)]
        code = [compile(ast.unparse(ast.fix_missing_locations(tree)), "x", "exec").co_code for tree in trees]
        assert code[0] == code[1], name


@pytest.mark.parametrize(
    ("reads", "before", "after"),
    [
        (Introspection.DOCSTRINGS, 'def f():\n    """Old."""\n', 'def f():\n    """New."""\n'),
        (Introspection.ANNOTATIONS, "def f(a: int):\n    pass\n", "def f(a: str):\n    pass\n"),
        (Introspection.ANNOTATIONS, "x: int = 1\n", "x: float = 1\n"),
        (Introspection.SOURCE, "x = 1\n", "x = 1  # why\n"),
    ],
)
def test_what_other_modules_read_counts(reads: Introspection, before: str, after: str):
    assert first_difference(before.encode(), after.encode()) is None
    assert first_difference(before.encode(), after.encode(), reads) is not None
    assert first_difference(before.encode(), before.encode(), reads) is None


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("print(__doc__)", Introspection.NONE),  # its own alone
        ("print(f.__doc__)", Introspection.DOCSTRINGS),
        ("getattr(f, '__doc__', '')", Introspection.DOCSTRINGS),
        ("import inspect", Introspection.DOCSTRINGS | Introspection.ANNOTATIONS),
        ("from inspect import signature", Introspection.DOCSTRINGS | Introspection.ANNOTATIONS),
        ("signature = 1", Introspection.NONE),
        ("inspect.getsource(f)", Introspection.DOCSTRINGS | Introspection.ANNOTATIONS | Introspection.SOURCE),
        ("f.__annotations__", Introspection.ANNOTATIONS),
        ("x = 'getsource linecache'  # inspect", Introspection.NONE),  # mentioned, not used
        ("getsource(", Introspection.NONE),
    ],
)
def test_tells_what_a_module_reads_of_code(source: str, reads: Introspection):
    assert syntax.introspection(source.encode()) == reads


@pytest.mark.parametrize(
    ("before", "after", "line", "texts"),
    [
        ("x = 1\ny = 2\nz = 3\n", "x = 1\n\n# new\ny = 4\nz = 4\n", 4, ("y = 2", "y = 4")),
        (
            "def f(a=1):\n    return a\n",
            '"""Doc."""\n\n\ndef f(a=2):\n    return a\n',
            4,
            ("def f(a=1):", "def f(a=2):"),
        ),
        ("@d(1)\ndef f():\n    return 1\n", "@d(2)\ndef f():\n    return 2\n", 1, ("@d(1)", "@d(2)")),
        ("f(\n    a,\n    b,\n)\n", "f(\n    a,\n    c,\n)\n", 3, ("b,", "c,")),
        ("x = 1\n", "x = 1\ny = 2\n", 2, ("", "y = 2")),
        ("x = 1\ny = 2\n", "x = 1\n", None, ("y = 2", "")),
    ],
)
def test_names_the_first_differing_line(before: str, after: str, line: int | None, texts: tuple[str, str]):
    difference = first_difference(before.encode(), after.encode())
    assert difference is not None
    assert (difference.line_after, (difference.text_before, difference.text_after)) == (line, texts)


def test_a_line_of_read_source_is_named():
    difference = first_difference(b"a\nb\n", b"a\nb  # why\n", Introspection.SOURCE)
    assert difference == syntax.Difference(2, 2, "b", "b  # why")


@pytest.mark.parametrize("source", [b"x = (\n", b"x = 1\0\n", b"\xff\n"])
def test_refuses_what_is_not_python(source: bytes):
    with pytest.raises(SyntaxError):
        first_difference(b"x = 1\n", source)


def test_every_file_of_the_repository_is_the_same_without_comments():
    """`ast.unparse` drops comments and all formatting."""
    for path in sorted((REPOSITORY / "src").rglob("*.py"))[::8]:
        source = path.read_bytes()
        if not syntax.introspection(source) & Introspection.SOURCE:
            assert first_difference(source, ast.unparse(ast.parse(source)).encode()) is None, path


def test_the_comparison_itself_reads_no_code():
    """It lies in a folder that stages may depend on."""
    assert syntax.introspection(Path(syntax.__file__).read_bytes()) == Introspection.NONE


def test_every_annotation_of_a_function_can_go():
    source = textwrap.dedent(
        """
        import functools

        @functools.cache
        def f(a: int, *rest: str, key: float = 2, **more: bytes) -> list[int]:
            total: int = a
            return [total]
        """
    )
    bare = source.replace(": int", "").replace(": str", "").replace(": float", "").replace(": bytes", "")
    assert first_difference(source.encode(), bare.replace(" -> list[int]", "").encode()) is None
