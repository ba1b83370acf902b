from __future__ import annotations

import json
from types import MappingProxyType

import pytest

from langchain_asyncfc.timeline.saved import FORMAT, from_json, to_json
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait

RECORD = RunRecord(
    (Reply(0, 1.5, "m", ("a",), 0.5, 10, 20, "text", failed=True),),
    (
        ToolRun(
            "a",
            "t",
            1.5,
            2,
            3,
            {"x": [1, {"y": None}]},
            "future_1",
            "failed",
            "boom",
            (Wait(1.5, 2, "reference", "future_0"),),
            4.0,
        ),
    ),
    5.0,
    "name",
)


def test_a_record_comes_back_as_it_was() -> None:
    """From text, from bytes, and from parsed JSON; on one line."""
    saved = to_json(RECORD)
    assert from_json(saved) == from_json(saved.encode()) == from_json(json.loads(saved)) == RECORD
    assert "\n" not in saved
    assert json.loads(saved)["format"] == FORMAT


def test_values_that_json_does_not_have() -> None:
    """Are written as their text; other mappings as objects."""
    args = {"when": pytest, "more": MappingProxyType({"a": 1})}
    record = RunRecord((), (ToolRun("a", "t", 0, 0, 1, MappingProxyType(args)),), 1)
    assert from_json(to_json(record)).tools[0].args == {"when": str(pytest), "more": {"a": 1}}


def test_fields_of_newer_versions_are_ignored() -> None:
    """In the record and inside."""
    data = json.loads(to_json(RECORD))
    data["new"] = data["replies"][0]["new"] = data["tools"][0]["new"] = 1
    assert from_json(data) == RECORD


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ("{", "This is no JSON"),
        ("[]", "not 'list'"),
        ('{"format": "other"}', "not 'other'"),
        (f'{{"format": "{FORMAT}", "replies": [], "tools": [], "end": "x"}}', "wrong at 'end'"),
        (f'{{"format": "{FORMAT}", "replies": [{{}}], "tools": [], "end": 1}}', "replies.0.start"),
    ],
)
def test_what_is_no_record(saved: str, said: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(ValueError, match=said):
        from_json(saved)
