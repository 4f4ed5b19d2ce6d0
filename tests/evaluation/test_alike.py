"""Classes that may be one are found where one class was cut in two, and hardly elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from scoremix.evaluation.coherence import alike_classes


def test_classes_that_were_cut_in_two_come_first() -> None:
    rng = torch.Generator().manual_seed(0)
    people = normalize(torch.randn(60, 64, generator=rng))
    labels = torch.arange(60).repeat_interleave(8)
    unit = normalize(people[labels] + 0.15 * torch.randn(len(labels), 64, generator=rng))
    cut = labels.clone()
    for person in (3, 17, 42):  # half of their images become classes 60, 61, 62
        cut[(labels == person).nonzero()[4:, 0]] = 60 + (3, 17, 42).index(person)
    shuffled = torch.randperm(len(cut), generator=rng)
    found = alike_classes(unit[shuffled], cut[shuffled])
    assert {tuple(pair) for pair in found.pairs[:3].tolist()} == {(3, 60), (17, 61), (42, 62)}
    assert len(found.pairs) == 3 and (np.diff(found.cosines) <= 0).all() and found.cosines.min() >= found.threshold


def test_too_few_images_to_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        alike_classes(normalize(torch.randn(9, 4)), torch.arange(9))
