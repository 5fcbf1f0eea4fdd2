"""Warns of the conditions that scores depend on: the tiles and their places, number format, device, way of scoring."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.logs.frames import Logs
from analysis.report.words import first_of
from trainables.common.places import shared_places

_WORDS = {"dtype": "in several number formats", "device_model": "on several kinds of devices"}
_SPLITS = ("train", "val", "test")


def conditions(logs: Logs) -> list[str]:
    """Returns what was odd about a study's tiles, and where its trials or models differ, a sentence or two each."""
    return [*_data_notes(logs), *_mixed(logs), *_scored(logs)]


def mixed_conditions(studies: Sequence[Logs]) -> list[str]:
    """Returns a sentence per condition in which joined studies differ."""
    found = []
    for name, words in _WORDS.items():
        by_study = {str(logs.study["study"]): _known(logs, name) for logs in studies}
        sets = {study: tuple(sorted(arms)) for study, arms in by_study.items() if arms}
        if len(set(sets.values())) > 1:
            parts = "; ".join(f"{study}: {' and '.join(values)}" for study, values in sets.items())
            found.append(f"These studies ran {words}, which may explain small differences between them: {parts}.")
    return found


def on_shared_places(logs: Logs) -> list[str]:
    """Returns a sentence on places that have tiles in several splits: these are alike, so scores are optimistic."""
    study: Mapping[str, Any] = logs.study
    splits = {split: study.get(f"{split}_tiles", ()) for split in _SPLITS} | study.get("further_tiles", {})
    shared = shared_places(study.get("groups", {}), splits)
    if not shared:
        return []
    names = [f"{place} ({', '.join(splits)})" for place, splits in shared.items()]
    count = "One place has" if len(names) == 1 else f"{len(names)} places have"
    return [
        f"{count} tiles in several splits, so these splits are not independent and scores on val and test may be too "
        f"high: {first_of(names)}."
    ]


def _data_notes(logs: Logs) -> list[str]:
    return [str(note) for note in logs.study.get("data_notes") or ()]


def _mixed(logs: Logs) -> list[str]:
    """Which arms ran as what, where the study's trials did not all run alike."""
    found = []
    for name, words in _WORDS.items():
        known = _known(logs, name)
        if len(known) < 2:
            continue
        totals = Counter(logs.runs["arm"])
        parts = []
        for value, arms in sorted(known.items()):
            names = [
                arm if count == totals[arm] else f"{arm} ({count} of {totals[arm]})" for arm, count in arms.items()
            ]
            parts.append(f"{value}: {first_of(names)}")
        found.append(f"Trials ran {words}, which may explain small differences. {'; '.join(parts)}.")
    return found


def _known(logs: Logs, name: str) -> dict[str, Counter[str]]:
    """How many trials of each arm ran as what; those whose logs do not say are left out."""
    found: dict[str, Counter[str]] = {}
    for arm, value in zip(logs.runs["arm"], logs.runs[name], strict=True):
        if value:
            found.setdefault(str(value), Counter())[str(arm)] += 1
    return found


def _scored(logs: Logs) -> list[str]:
    """Final models that were scored in another way than on whole tiles where they were trained."""
    by_way: dict[str, list[str]] = {}
    for arm, number, way in zip(logs.models["arm"], logs.models["number"], logs.models["scored"], strict=True):
        if way:
            by_way.setdefault(str(way), []).append(f"{arm} #{number}")
    return [f"Final models that were scored {way}: {first_of(names)}." for way, names in by_way.items()]
