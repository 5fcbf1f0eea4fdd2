"""Seals of real tiles, two attempts, and what registers and refusals say, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from studies.seal.register import when
from studies.seal.seal import Attempt, Seal
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset

UNET = Attempt(arm="unet 5", signatures=("aa", "bb"))
SAM = Attempt(arm="sam_conv 5", signatures=("cc", "dd"))
RESULT = {"test/iou": 0.75, "tiles": {"test_0": 0.7}}


def make(root: Path, study: str = "one") -> Seal:
    return Seal(read_dataset(root), out=root.parent / "runs" / study, study=study, study_id=f"id of {study}")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **kwargs)
    return str(error.value)


def time_of(root: Path, number: int = 0) -> str:
    return when(lines_of(root / "seal.jsonl")[number])
