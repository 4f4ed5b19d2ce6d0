"""Text for other programs: spreadsheets compute no cell of ours, and no name steers a terminal."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scoremix.data.csv_text import csv_text, of_text, printable
from scoremix.data.lists import read_mplets
from scoremix.stages.mix.select import as_csv


@given(st.lists(st.one_of(st.text(), st.floats(allow_nan=False), st.integers(), st.sampled_from(["=1", "'=1", "-a"]))))
def test_cells_are_read_back_and_none_is_a_formula(row: list[object]) -> None:
    row = [1, *row]
    (read,) = csv.reader(io.StringIO(csv_text([row]), newline=""))
    for cell, found in zip(row, read, strict=True):
        if isinstance(cell, str):
            assert of_text(found) == cell and not found.startswith(("=", "+", "-", "@", "\t", "\r"))
        else:
            assert found == str(cell)


def test_chosen_classes_with_names_like_formulas_are_read_back(tmp_path: Path) -> None:
    names = ["=cmd", "-1", "@a", 'b"c']
    (tmp_path / "m.csv").write_text(as_csv(np.array([[0, 1], [2, 3]]), names, np.array([0.5, -0.25])))
    assert "'=cmd" in (tmp_path / "m.csv").read_text() and ",-0.25" in (tmp_path / "m.csv").read_text()
    np.testing.assert_array_equal(read_mplets(tmp_path / "m.csv", names, 2), [[0, 1], [2, 3]])


def test_what_is_printed_holds_no_control_characters() -> None:
    assert printable("a\tb\nÄ\u0928\u093f") == "a\tb\nÄ\u0928\u093f"
    assert printable("\x1b[31m\x9b\r\u202e\udc80") == r"\x1b[31m\x9b\r\u202e\udc80"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="a terminal is needed")
def test_a_class_cannot_steer_the_terminal(tmp_path: Path) -> None:
    for name in ("a", "b\x1b[31m"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"no image")
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    ours, theirs = os.openpty()
    call = [sys.executable, "-c", "from scoremix.commands import main; main()", "verify-data", str(tmp_path)]
    done = subprocess.run(call, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    said = b""
    with open(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                said += part
        except OSError:  # the other end is closed
            pass
    assert done.returncode == 2 and b"\x1b" not in said and rb"b\x1b[31m/0.png" in said
