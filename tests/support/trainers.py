"""How others read what we write, in code of its own."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def arcface_items(folder: Path) -> list[tuple[int, bytes]]:
    """(label, image) of all images, in the way arcface_torch and CVLface go about it: key 0, then 1 .. its label - 1."""
    offsets = dict(map(int, line.split("\t")) for line in (folder / "train.idx").read_text().splitlines())
    raw = (folder / "train.rec").read_bytes()

    def unpack(key: int) -> tuple[list[float], bytes]:
        length = int.from_bytes(raw[offsets[key] + 4 : offsets[key] + 8], "little")
        payload = raw[offsets[key] + 8 : offsets[key] + 8 + length]
        flag, label, *_ = struct.unpack("<IfQQ", payload[:24])
        several = np.frombuffer(payload[24 : 24 + 4 * flag], "<f4").tolist()
        return several or [label], payload[24 + 4 * flag :]

    end, last = unpack(0)[0]
    assert sorted(offsets) == list(range(int(last)))
    found = [unpack(key) for key in range(1, int(end))]
    assert all(unpack(key)[1] == b"" for key in range(int(end), int(last)))
    return [(int(labels[0]), image) for labels, image in found]
