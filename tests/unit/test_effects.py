"""Tests of what tools declare, and of the resources of a call."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool

from langchain_asyncfc.effects import (
    UNDECLARED,
    Access,
    Effects,
    access_of,
    covers,
    effects,
    effects_of,
    levels_of,
)


@pytest.mark.parametrize(
    ("path", "levels"),
    [
        ("fs:/src/a.py", ("fs:", "src", "a.py")),
        ("fs:src//a.py", ("fs:", "src", "a.py")),
        ("./src/../a.py", ("a.py",)),
        ("fs:", ("fs:",)),
        ("fs:/", ("fs:",)),
        ("/", ()),
        ("", ()),
        ("fs:../../a", ("fs:", "a")),
        ("a:b:c", ("a:", "b:c")),
        ("1:b", ("1:b",)),
        ("fs:a\nb/c", ("fs:", "a\nb", "c")),
    ],
)
def test_paths_are_worked_out(path: str, levels: tuple[str, ...]) -> None:
    """Rule 3: levels are separated by `/`, with an optional `name:` first."""
    assert levels_of(path) == levels


@pytest.mark.parametrize(
    "path", ["fs:{path", "fs:{}", "fs:{a.b}", "fs:{a[0]}", "fs:{0}", "fs:{a b}"]
)
def test_bad_templates_are_refused(path: str) -> None:
    """Bad input: a template that does not parse is a ValueError that shows it."""
    with pytest.raises(ValueError, match="Effects path 'fs:"):
        Effects(reads=path)


@pytest.mark.parametrize("path", ["fs:{a:d}", "fs:{a!r}", "fs:{a!z}", "fs:{a:{b}}"])
def test_a_template_holds_plain_names_only(path: str) -> None:
    """Bad input: formats and conversions could fail at a call, so they are refused."""
    with pytest.raises(ValueError, match="plain name of an argument"):
        effects(writes=path)


def test_a_path_that_is_no_string_is_refused() -> None:
    """Bad input: paths are strings; the message says which side is wrong."""
    with pytest.raises(TypeError, match=r"writes=\[1\] must hold paths as strings, not 1"):
        Effects(writes=[1])  # type: ignore[list-item]


def test_sides_become_tuples() -> None:
    """One path or several may be given."""
    declared = Effects(reads="a", writes=iter(["b", "c"]))
    assert (declared.reads, declared.writes) == (("a",), ("b", "c"))
    assert declared == Effects(reads=["a"], writes=("b", "c"))


def test_what_is_declared() -> None:
    """Rule 4: a tool is declared when both sides are known."""
    assert Effects().declared
    assert Effects().writes_nothing
    assert Effects(reads="/").writes_nothing
    assert not Effects(writes="a").writes_nothing
    for partly in (UNDECLARED, Effects(reads=None), Effects(writes=None)):
        assert not partly.declared
        assert not partly.writes_nothing
        assert access_of(partly, {}, frozenset()) is None


def test_arguments_that_paths_name() -> None:
    """Each argument comes with the first path that names it."""
    declared = Effects(reads=["a:{x}/{y}", "b:{x}"], writes="c:{z}/{{x}}")
    assert declared.arguments() == {"x": "a:{x}/{y}", "y": "a:{x}/{y}", "z": "c:{z}/{{x}}"}
    assert UNDECLARED.arguments() == {}


def test_the_decorator_stands_above_or_below_tool() -> None:
    """Public names: `@effects` marks a function, a tool or a class, and returns it."""

    @effects(reads="fs:{path}")
    @tool
    def above(path: str) -> str:
        """Read."""
        return path

    @tool
    @effects(reads="fs:{path}", ack=True)
    async def below(path: str) -> str:
        """Read."""
        return path

    @effects(writes="db:")
    class Handmade(BaseTool):
        name: str = "handmade"
        description: str = "Made by hand."

        def _run(self) -> None: ...

    assert isinstance(above, BaseTool)
    assert effects_of(above) == Effects(reads="fs:{path}")
    assert effects_of(below) == Effects(reads="fs:{path}", ack=True)
    assert effects_of(Handmade()) == Effects(writes="db:")
    assert effects_of(len) is None


@pytest.mark.parametrize(
    ("path", "args", "levels"),
    [
        ("fs:{p}", {"p": "a/b"}, [("fs:", "a", "b")]),
        ("fs:{p}", {"p": ["a", "b/c"]}, [("fs:", "a"), ("fs:", "b", "c")]),
        ("fs:{p}", {"p": [["a"], "b"]}, [("fs:", "a"), ("fs:", "b")]),
        ("db:{n}", {"n": 7}, [("db:", "7")]),
        ("fs:src/{p}", {}, [("fs:", "src")]),
        ("fs:src/{p}", {"p": None}, [("fs:", "src")]),
        ("fs:src/{p}", {"p": []}, [("fs:", "src")]),
        ("fs:src/{p}", {"p": ["a", {}]}, [("fs:", "src")]),
        ("fs:src/{p}", {"p": {"a": 1}}, [("fs:", "src")]),
        ("fs:src/x-{p}.py", {}, [("fs:", "src")]),
        ("fs:{d}/{p}/z", {"d": "a"}, [("fs:", "a")]),
        ("fs:{d}/{p}", {"d": ["a", "b"]}, [("fs:",)]),
        ("fs:{d}/{p}", {"p": "a"}, [("fs:",)]),
        ("{d}/{p}", {"d": ["a", "b"], "p": ["x", "y"]}, [(a, b) for a in "ab" for b in "xy"]),
        ("{n}:{p}", {"n": "fs", "p": "a"}, [("fs:", "a")]),
        ("{n}:{p}", {"n": "fs"}, [()]),
        ("fs:{{p}}", {"p": "a"}, [("fs:", "{p}")]),
        ("fs:{p}", {"p": "{x}"}, [("fs:", "{x}")]),
        ("fs:a", {}, [("fs:", "a")]),
    ],
)
def test_templates_are_filled(path: str, args: dict[str, Any], levels: list[Any]) -> None:
    """Rule 3: a template names a resource an item; an absent argument covers its parent path."""
    expected = Access(reads=tuple(levels))
    assert access_of(Effects(reads=path), args, frozenset()) == expected
    assert access_of(Effects(writes=path), args, frozenset()) == Access(writes=tuple(levels))


class Mute:
    """An object that has no text."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def nested(levels: int) -> list[Any]:
    """A list in a list in a list, around a text."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value]
    return value


LOOP: list[Any] = ["a"]
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value",
    [nested(5000), LOOP, 10**5000, Mute(), ["a", Mute()], list(range(1_000_000))],
    ids=["nested too deep", "holds itself", "huge number", "no text", "no text in it", "too many"],
)
def test_what_names_no_resource_covers_the_parent(value: Any) -> None:
    """Bad input: any argument has an access, and nothing is raised."""
    access = access_of(Effects(reads="fs:/{b}/{a}"), {"a": value, "b": "x"}, frozenset())
    assert access == Access((("fs:", "x"),), ())


def test_lists_are_not_multiplied_without_end() -> None:
    """Two lists name every pair; where those are too many their common parent stands for them."""
    declared = Effects(reads="fs:{a}/{b}/{c}")
    few, many = ["0", "1"], [str(n) for n in range(900)]
    access = access_of(declared, {"a": "x", "b": few, "c": few}, frozenset())
    assert access is not None
    assert len(access.reads) == 4
    before = access_of(declared, {"a": "x", "b": many}, frozenset({"c"}))
    access = access_of(declared, {"a": "x", "b": many, "c": many}, frozenset())
    assert access == Access((("fs:", "x"),), ())
    assert before is not None
    assert covers(before, access)


def test_an_unfinished_reference_covers_the_parent_and_shrinks_later() -> None:
    """Rule 3: with the value unknown the access is not exact, even if the text is there."""
    declared = Effects(reads="db:", writes="fs:src/{p}")
    args = {"p": "future_1", "q": "future_2"}
    assert access_of(declared, args, frozenset("pq")) == Access(
        (("db:",),), (("fs:", "src"),), exact=False
    )
    known = access_of(declared, {"p": "a"}, frozenset("q"))
    assert known == Access((("db:",),), (("fs:", "src", "a"),))


@pytest.mark.parametrize(
    ("narrower", "covered"),
    [
        (Access((("fs:", "a"),), ()), True),
        (Access((("fs:",),), (("db:", "x"),)), True),
        (Access((), ()), True),
        (Access((("etc",),), ()), False),
        (Access((), (("fs:", "a"),)), False),
        (Access(((),), ()), False),
    ],
)
def test_what_lies_within(narrower: Access, covered: bool) -> None:
    """Rule 3: a hazard may shrink, not move: each side must lie within the wider one's."""
    assert covers(Access((("fs:",),), (("db:",),)), narrower) is covered
