"""The benchmarks beside peers: ratios, timelines and parts by hand, and small runs of what measures them."""

import json
import math

import pytest

from benchmarks import bench, draws, gpu
from benchmarks.orchestration.rows import PEERS, read_timeline, timeline
from benchmarks.study import split
from benchmarks.table import Row, Spread
from trainables.common.errors import UserError
from trainables.models.architectures import ARCHITECTURES


def spread(value: float) -> Spread:
    return Spread.of([value])


def test_a_spread_is_the_median_and_the_quartiles():
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(value=3.0, low=2.0, high=4.0, count=5)
    assert Spread.mean_of([0.0, 2.0, 0.0, 2.0, 0.0]) == Spread(value=0.8, low=0.0, high=2.0, count=5)
    assert (str(Spread.of([4.0, 1.0, 3.0, 2.0, 5.0])), str(spread(0.0123))) == ("3 (2 … 4)", "0.0123")


def test_a_ratio_is_above_one_where_fewtile_is_ahead():
    numbers = {"what": "x", "unit": "s", "ours": spread(2.0), "peer": "other", "theirs": spread(3.0)}
    assert Row(**numbers).ratio == 1.5
    assert math.isclose(Row(**numbers, is_better_when="more").ratio, 2 / 3)
    assert Row(what="x", unit="s", ours=spread(2.0)).ratio is None


def test_a_timeline_leaves_out_the_trials_of_the_start():
    ends = [12.0, 20.0, 21.0, 22.0, 23.0, 23.5, 24.5]
    events = "".join(f"began {end - 0.5}\nended {end}\n" for end in ends)
    found = read_timeline(events, started=10.0, ended=30.0)
    assert (found.start, found.further, found.end) == (1.5, [0.5, 1.0], 5.5)


def test_parts_of_a_study_are_told_by_what_it_prints():
    lines = [
        (0.5, "timing a few training steps\n"),
        (4.0, "search: 4 trials; then final models, validation, scoring on val, scoring on test, report\n"),
        (9.0, "final models: 4 models; then validation\n"),
        (20.0, "validation: 2 models; then scoring on val, scoring on test, report\n"),
        (25.0, "report · about 5 s left\n"),
        (31.0, "done in 31 s\n"),
        (31.1, "report    runs/phase2/report/report.html\n"),
    ]
    assert split(lines, 32.0) == {"start": 4.0, "training": 16.0, "scoring": 5.0, "report": 6.0, "end": 1.0}


@pytest.mark.parametrize("peer", ["Optuna alone on SQLite", "Optuna alone on a journal"])
def test_peers_run_the_trials_that_they_are_asked_for(peer):
    found = timeline(PEERS[peer], reports=3, num_trials=4)
    assert found.start > 0
    assert found.end > 0
    assert len(found.further) == 1


@pytest.mark.faults
def test_fewtile_and_ray_tune_run_the_trials_that_they_are_asked_for():
    for command in (["fewtile"], PEERS["Ray Tune, class, reuse_actors"]):
        assert len(timeline(command, reports=2, num_trials=8).further) == 3


def test_what_a_gpu_is_measured_with_runs_on_a_cpu(monkeypatch, tmp_path, capsys):
    wanted = ("unet_width16", "vit_gat", "out of memory")
    monkeypatch.setattr(gpu, "SECTIONS", {name: gpu.SECTIONS[name] for name in wanted})
    assert gpu.main(["--device", "cpu", "--small", "--json", str(tmp_path / "gpu.json")]) == 0
    printed = capsys.readouterr().out
    assert "unet_width16: training of an epoch of 400 draws" in printed
    assert "the same in micro-batches of 2" in printed
    rows = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"]
    assert len([row for row in rows if row["unit"] == "TFLOP/s" and row["ours"]["value"] > 0]) == 2


def test_what_a_gpu_is_measured_with_ends_in_time(tmp_path, capsys):
    assert gpu.main(["--device", "cpu", "--small", "--minutes", "0", "--json", str(tmp_path / "gpu.json")]) == 0
    assert json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"] == []
    left_out = capsys.readouterr().out.partition("left out: ")[2].partition("\n")[0].split(", ")
    assert left_out == list(gpu.SECTIONS)
    assert set(ARCHITECTURES) < set(left_out)


def test_draws_are_measured_by_turns():
    calls: list[tuple[str, int]] = []
    rates = draws.by_turns(lambda i: calls.append(("one", i)), lambda i: calls.append(("other", i)), 16)
    assert [name for name, _ in calls[2:8]] == ["one", "one", "other", "other", "one", "one"]
    assert sorted(calls[2:]) == sorted((name, i) for name in ("one", "other") for i in range(16))
    assert all(rate.value > 0 and rate.count == draws.NUM_TURNS for rate in rates)


def test_bench_prints_a_table_and_writes_its_numbers(tmp_path, monkeypatch, capsys):
    row = Row(what="draws", unit="draws/s", ours=spread(6.0), peer="naive", theirs=spread(2.0), is_better_when="more")
    monkeypatch.setattr("benchmarks.draws.rows", lambda: iter([row]))
    assert bench.main(["--only", "draws", "--json", str(tmp_path / "results" / "latest.json")]) == 0
    assert "3.00" in capsys.readouterr().out
    content = json.loads((tmp_path / "results" / "latest.json").read_text(encoding="utf-8"))
    assert content["rows"][0]["ratio"] == 3.0
    assert set(content["about"]) >= {"date", "processor", "cores", "torch"}


def test_bench_refuses_what_it_does_not_measure():
    with pytest.raises(UserError, match="invalid choice: 'steeps'"):
        bench.main(["--only", "steeps"])
