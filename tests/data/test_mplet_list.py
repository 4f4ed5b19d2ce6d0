"""m-plets from a file: every form, and every way to get it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoremix.data.lists import read_mplets

NAMES = ["ant", "bee", "cat", "dog, big"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'bee,ant\ncat,"dog, big"\n'),
        ("a.csv", 'class_0,class_1,name_0,name_1,value\n1,0,bee,ant,0.5\n2,3,cat,"dog, big",0.4\n'),
        ("a.json", '[["bee", "ant"], ["cat", "dog, big"]]'),
        ("a.csv", '\ufeffbee, ant\n\ncat,"dog, big"'),
    ],
)
def test_order_is_the_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_mplets(tmp_path / name, NAMES, 2).tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "bee,ant\nant,ant\n", "m-plet 2: 'ant', 'ant' repeat a class"),
        ("a.csv", "bee,antt\n", "names 'antt', not among the 4 training classes; did you mean 'ant'"),
        ("a.csv", "bee,ant,cat\n", "are 3 classes, selection.m is 2"),
        ("a.csv", "bee,ant\nant,bee\n", "stands there twice"),
        ("a.csv", "", "names no m-plets"),
        ("a.json", "[1, 2]", "must be"),
        ("a.json", "{", "is not JSON"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        read_mplets(tmp_path / name, NAMES, 2)
