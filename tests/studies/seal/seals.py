"""Seals of real tiles, two attempts, and what registers and refusals say, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from studies.seal.register import when
from studies.seal.seal import Attempt, Seal
from trainables.common.errors import UserError
from trainables.data.dataset import Dataset, read_dataset
from trainables.data.decode import decode_open
from trainables.data.masks import MaskRule

UNET = Attempt(arm="unet 5", signatures=("aa", "bb"))
SAM = Attempt(arm="sam_conv 5", signatures=("cc", "dd"))
RESULT = {"test/iou": 0.75, "tiles": {"test_0": 0.7}}


def make(root: Path, study: str = "one") -> Seal:
    dataset = read_dataset(root)
    return Seal(dataset, rule_of(dataset), out=root.parent / "runs" / study, study=study, study_id=f"id of {study}")


def rule_of(dataset: Dataset) -> MaskRule:
    return decode_open(dataset, keep=False).rule


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **kwargs)
    return str(error.value)


def time_of(root: Path, number: int = 0) -> str:
    return when(lines_of(root / "seal.jsonl")[number])
