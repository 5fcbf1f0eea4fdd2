"""Checks that adapters share."""

import numpy as np
import pytest

from tests.trainables.made_up_sources import photo, save
from trainables.datasets.sources.plan import check_pair


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (photo(1)[..., 0], photo(2), "has 1 bands of uint8, but must have 3 of uint8: replace it"),
        (photo(1, size=(16, 24)), photo(2), "is 24×16 px, but is published with 16×16 px: replace it"),
        (photo(1), photo(2, size=(16, 8)), "is 8×16 px, but its image is 16×16 px: image and mask must have one size"),
        (photo(1), photo(2)[..., 0].astype(np.uint16), "is of uint16, but must be of uint8: replace it"),
    ],
)
def test_check_pair_refuses_what_headers_tell(tmp_path, image, mask, words, refusal):
    paths = save(tmp_path / "a.png", image), save(tmp_path / "b.png", mask)
    assert refusal(lambda: check_pair(*paths, size_px=(16, 16))).endswith(words)
