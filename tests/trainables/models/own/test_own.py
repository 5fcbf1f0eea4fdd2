"""A person's own networks: what their names mean, what is refused, how they are adapted, and their checkpoints."""

import copy
import re
import sys

import pytest
import torch

from searchspace.spaces import recipe_point, space_for
from tests.trainables.own_network import write_networks
from trainables.check_network import check_network
from trainables.checkpoints import build_model, count_parameters, load_model
from trainables.data.tiles import DatasetInfo
from trainables.models.composed.names import find_architecture, get_architecture
from trainables.models.own.files import NETWORKS, take_file, write_copies

INFO = DatasetInfo(classes=("background", "roof"), bands=("red", "green", "blue"), scale=1 / 255)


@pytest.fixture
def own(tmp_path):
    """The name for tables of a function in a file; `end` makes it another file of that name."""
    return lambda rest, end="": take_file(f"{write_networks(tmp_path / 'nets', end=end)}:{rest}")


# Names


def test_name_is_the_files_own_and_its_content_decides_the_signature(own, make_config, tmp_path):
    name = own("build")
    assert name == "my_nets.py:build"
    assert take_file("unet") == "unet"
    config = make_config(architecture=name, weights="own")
    elsewhere = take_file(f"{write_networks(tmp_path / 'elsewhere')}:build")
    assert make_config(architecture=elsewhere, weights="own").signature() == config.signature()
    assert config.label == name
    other = make_config(architecture=own("build", end="\n# another one\n"), weights="own")
    assert other.signature() != config.signature()
    with pytest.raises(ValueError, match="put that file back"):
        type(config).model_validate_json(config.model_dump_json())


def test_file_is_run_once_for_each_content(own):
    own("build", end="import sys\nsys.own_runs = getattr(sys, 'own_runs', 0) + 1\n")
    try:
        for rest in ("build", "Declared", "build@full"):
            find_architecture(f"my_nets.py:{rest}")
        assert sys.own_runs == 1
    finally:
        del sys.own_runs


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nets.py", "", "must be PATH.py:FUNCTION"),
        ("none.py:build", "", "no such file"),
        ("my nets.py:build", "", "letters, digits"),
        ("nets.py:buidl", "def build(spec): ...", "did you mean build?"),
        ("nets.py:build@scratch", "def build(spec): ...", "@frozen, @staged, @full"),
        ("nets.py:build", "\nimport no_such_helper", "'no_such_helper', in line 2 of nets.py, and it must stand alone"),
        ("nets.py:build", "def build(:", "SyntaxError: invalid syntax, in line 1 of nets.py"),
        ("nets.py:build", "raise SystemExit(3)", "SystemExit: 3, in line 1 of nets.py"),
    ],
)
def test_name_that_cannot_be_is_refused_in_one_line(name, text, words, tmp_path):
    (tmp_path / "nets.py").write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        find_architecture(take_file(f"{tmp_path / name}"))
    assert words in str(refused.value)


# What functions say and give


def test_function_says_its_sides_and_learning_rate_and_dropout_is_searched_where_it_is_used(own, tmp_path):
    row = get_architecture(own("Declared"))
    assert (row.stride, row.only_px, recipe_point(row.name)["lr"]) == (8, 40, 3e-4)
    plain = get_architecture(own("build"))
    assert (plain.stride, plain.only_px, recipe_point(plain.name)["lr"]) == (32, None, 1e-3)
    assert "decoder_dropout" in space_for(plain.name)
    assert ["encoder_lr_factor" in space_for(own(f"build{at}")) for at in ("", "@frozen", "@staged")] == [0, 0, 1]
    (tmp_path / "bare.py").write_text("def build(spec): ...")
    bare = take_file(f"{tmp_path / 'bare.py'}:build")
    assert "decoder_dropout" not in space_for(bare)
    assert recipe_point(bare)["decoder_dropout"] == 0
    with pytest.raises(ValueError, match=r"stride must be a whole number above 0, and is 1\.5"):
        find_architecture(own("of_odd_stride"))


@pytest.mark.parametrize("rest", ["build", "Declared", "build@staged", "without_encoder"])
def test_network_that_works_is_taken(rest, own, make_config):
    config = make_config(architecture=own(rest), weights="own")
    check_network(config, INFO)
    trained, frozen = count_parameters(config, INFO)
    assert trained > 0
    assert frozen == 0


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("raises", r"ValueError: no luck, in line \d+ of my_nets.py"),
        ("gives_no_module", "gives int"),
        ("without_parameters", "without a parameter"),
        ("of_two_outputs", r"gives \(2, 2, 96, 96\) .* must give logits of \(2, 1, 96, 96\)$"),
        ("of_stride_64", r"gives \(2, 1, 64, 64\) .* set stride"),
        ("of_four_bands", "fails on an image .* RuntimeError"),
        ("without_encoder@frozen", "without a module `encoder`"),
    ],
)
def test_network_that_does_not_work_is_refused_in_one_line(rest, words, own, make_config, refusal):
    message = refusal(lambda: check_network(make_config(architecture=own(rest), weights="own"), INFO))
    assert re.search(words, message), message


# Adaptations


@pytest.mark.parametrize(
    ("rest", "epochs"), [("build", 0), ("build@staged", 2), ("build@full", 0), ("build@frozen", 0)]
)
def test_encoder_is_frozen_at_first_only_where_the_name_says_so(rest, epochs, own, make_config):
    config = make_config(architecture=own(rest), weights="own", epochs=6)
    assert config.frozen_epochs == epochs
    assert config.is_pretrained == (rest != "build")


def test_frozen_encoder_stays_as_it_is_also_in_copies(own, make_config):
    config = make_config(architecture=own("build@frozen"), weights="own")
    model = build_model(config, INFO, [0.0] * 3, [1.0] * 3)
    for one in (model, copy.deepcopy(model)):
        one.train()
        assert (one.training, one.encoder.training, one.encoder[1].training) == (True, False, False)
        assert not any(parameter.requires_grad for parameter in one.encoder.parameters())
        one(torch.rand(2, 3, 32, 32)).sum().backward()
        assert all(parameter.grad is not None for parameter in one.network.head.parameters())
    assert "network.encoder.0.weight" in model.state_dict()  # so that checkpoints need no weights of the person's


# Checkpoints


def test_checkpoint_needs_the_file_that_it_was_trained_with(own, make_config, save_best, refusal, tmp_path):
    name, path = own("build"), tmp_path / "study" / "checkpoints" / "arm" / "0003" / "best.pt"
    config = make_config(architecture=name, weights="own")
    model = save_best(path, config, INFO)
    own("build", end="\n# edited\n")
    alone = refusal(lambda: load_model(path))
    assert "needs my_nets.py of SHA-256" in alone
    edited = tmp_path / "nets" / "my_nets.py"
    assert "is not that" in refusal(lambda: load_model(path, network=edited))
    write_networks(tmp_path / "study" / NETWORKS)
    pixels = torch.rand(1, 3, 64, 64)
    for given in (None, tmp_path / "study" / NETWORKS / "my_nets.py"):
        trained = load_model(path, network=given)
        assert trained.config == config
        with torch.inference_mode():
            assert torch.equal(trained.model(pixels), model.eval()(pixels))


def test_copy_never_takes_the_place_of_another_file(own, refusal, tmp_path):
    name = own("build")
    for names in ([name, "unet"], [name]):
        write_copies(tmp_path, names)
    assert [path.name for path in (tmp_path / NETWORKS).iterdir()] == ["my_nets.py"]
    own("build", end="\n# edited\n")
    assert "another file" in refusal(lambda: write_copies(tmp_path, [name]))
