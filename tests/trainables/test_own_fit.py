"""A person's own network in the place of an attempt's."""

import json

import pytest
import torch

from tests.trainables.own_network import write_networks
from trainables.fit import main
from trainables.trial import fit


def test_own_network_is_trained_from_a_copy_that_resuming_goes_on_from(
    write_rgb, tmp_path, refusal, capsys, monkeypatch
):
    data, out = write_rgb(tmp_path / "tiles", size_px=(128, 128)), tmp_path / "out"
    path = write_networks(tmp_path)
    flags = ["--attempt", "01", "--data", str(data), "--out", str(out), "--architecture", f"{path}:Net", "--smoke"]
    monkeypatch.setattr("trainables.trial.fit", lambda *_, **__: iter(()))
    main(flags)
    monkeypatch.setattr("trainables.trial.fit", fit)
    about = json.loads((out / "attempt.json").read_text())
    assert any(change.startswith("network unet → my_nets.py:Net (") for change in about["changed"])
    assert (about["settings"]["weights"], about["settings"]["lr"]) == ("own", 1e-3)
    copy = out / "networks" / "my_nets.py"
    assert copy.read_bytes() == path.read_bytes()
    write_networks(tmp_path, end="\n# edited\n")
    assert f"{path} is no longer what {out} began with" in refusal(lambda: main([*flags, "--resume"]))
    path.unlink()
    assert main([*flags, "--resume"]) == 0
    assert "attempt 01 my_nets.py:Net, smoke: val IoU" in capsys.readouterr().out
    assert torch.load(out / "best.pt", weights_only=True)["epoch"] in (1, 2)
    copy.write_text(copy.read_text() + "\n# edited, too\n")
    assert "(network my_nets.py:Net (" in refusal(lambda: main([*flags, "--resume"]))


@pytest.mark.parametrize(
    ("network", "words"),
    [("unet", "--architecture is 'unet', but must be PATH.py:FUNCTION"), ("a.py:f", "there is no such file")],
)
def test_network_that_is_none_is_refused(network, words, write_rgb, tmp_path, refusal):
    flags = ["--attempt", "01", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert words in refusal(lambda: main([*flags, "--architecture", network]))
