"""What no phase takes from its command line or its file: a line that names the field and the value, and no study."""

import shlex
import socket

import pytest
import wandb
import yaml

from studies.profiles import PHASES, PhaseName
from tests.studies.command_lines import read

PHASE_1, PHASE_2, PHASE_3 = PHASES
NO_TIME = ("0", "-1", "nan", "inf", "1e400", "soon", "", "1,5")


@pytest.fixture
def refused(tmp_path, dataset_root, monkeypatch, refusal):
    """What a phase says to flags as one types them, in a folder in which nothing of it is written."""
    monkeypatch.chdir(tmp_path)

    def refusal_of(phase: PhaseName, flags: str) -> str:
        data = [] if "--data" in flags else ["--data", str(dataset_root)]
        before = sorted(tmp_path.rglob("*"))
        words = refusal(phase, *data, *shlex.split(flags))
        assert sorted(tmp_path.rglob("*")) == before
        return words

    return refusal_of


@pytest.mark.parametrize(
    ("phase", "flags", "words"),
    [
        (PHASE_2, "--trails 3", "unrecognized arguments: --trails 3"),
        (PHASE_2, "--trials", "argument --trials: expected one argument"),
        (PHASE_2, "--trials many", "--trials is 'many', but must be a valid integer"),
        (PHASE_2, "--trials 0", "--trials is '0', but must be greater than or equal to 1"),
        (PHASE_2, "--tiles 0", "--tiles is '0', but must be greater than or equal to 1"),
        (PHASE_2, "--seeds=-1", "--seeds is '-1', but must be greater than or equal to 0"),
        (PHASE_2, "--seeds 1.5", "--seeds is '1.5', but must be a valid integer"),
        (PHASE_2, "--out ''", "argument --out: it is '', but must be a path"),
        (PHASE_2, "--data '~nobody-here/a'", "--data is '~nobody-here/a', but must be a path, and"),
        (PHASE_2, "--data nowhere", "nowhere is no folder"),
        (PHASE_2, "--config nowhere.yaml", "--config nowhere.yaml cannot be read"),
        (PHASE_2, "--architectures unet resnext", "--architectures is 'resnext'"),
        (PHASE_2, "--architectures unet unet", "--architectures names one of unet, unet twice"),
        (
            PHASE_2,
            "--architectures unet:resnet18 unet_resnet34 unet:resnet18@full unet:resnet18@staged",
            "--architectures names unet:resnet18 and unet:resnet18@staged, which are one network: leave one out",
        ),
        (PHASE_2, "--profile huge", "--profile is 'huge', but must be one of smoke, quick, full"),
        (PHASE_2, "--wandb maybe", "--wandb is 'maybe'"),
        (PHASE_2, "--profile smoke --tiles 2 500", "--tiles 500 asks for 500 train tiles, but there are 4"),
        *((PHASE_2, f"--max-hours={shlex.quote(time)}", f"--max-hours is {time!r}, but must be") for time in NO_TIME),
        (PHASE_2, "--hang-minutes 0", "--hang-minutes is '0', but must be a number above 0"),
        # Of one phase or another
        (PHASE_1, "--with-recipe", "unrecognized arguments: --with-recipe"),
        (PHASE_3, "", "phase 3 needs the study whose configurations it retrains: add --from runs/phase2"),
        (PHASE_3, "--architectures unet", "phase 3 needs the study whose configurations it retrains"),
        (PHASE_1, "--seeds 0", "--seeds is 0, but without a search every model is a final one: give at least 1"),
        (PHASE_2, "--vary lr --seeds 0", "--seeds is 0, but without a search every model is a final one"),
        (PHASE_2, "--with-recipe --seeds 0", "--seeds is 0, but --with-recipe trains the recipe as final models"),
        (PHASE_2, "--profile full --with-recipe --seeds 0", "--seeds is 0, but --with-recipe trains the recipe"),
        (PHASE_1, "--dry-run --resume --out study", "--dry-run is about a new study: python -m studies.status"),
        # What is varied, sampled or fixed
        (PHASE_2, "--vary seed", "--vary is 'seed', but must be"),
        (PHASE_2, "--vary lr --trials 3", "--trials is about a search, but --vary makes none"),
        (PHASE_2, "--vary bce_weight --fix loss=dice", "--vary is bce_weight, but the loss of"),
        (PHASE_2, "--sampler grid", "--sampler is 'grid', but must be 'tpe', 'gp' or 'random'"),
        (PHASE_2, "--fix depht=4", "--fix names depht, but must name one of lr, augmentation"),
        (PHASE_2, "--fix loss=hinge", "--fix loss is 'hinge', but must be"),
        (PHASE_2, "--fix loss=[", "--fix loss is '[', but must be"),
        (PHASE_2, "--fix loss=[dice]", "--fix loss is '[dice]', but must be"),
        (PHASE_2, "--fix lr=fast", "--fix lr is 'fast', but must be"),
        (PHASE_2, "--fix decoder_dropout=2", "--fix decoder_dropout is 2.0, but must be less than 1"),
        (PHASE_2, "--vary loss --fix focal_weight=7", "--fix focal_weight is 7.0, but must be less than"),
        (PHASE_2, "--fix depth=deep --architectures lavit", "--fix depth is 'deep', but must be a valid integer"),
        (PHASE_2, "--fix depth=5 --architectures lavit", "depth is 5, but lavit takes one of 4, 6, 8"),
        (PHASE_2, "--fix loss", "--fix is loss, but must be NAME=VALUE"),
        (PHASE_2, "--fix lr=1e-3 lr=1e-4", "--fix has lr twice"),
        (PHASE_2, "--fix focal_weight=0.5", "--fix names focal_weight, but the loss of"),
        (PHASE_2, "--fix loss=dice --vary loss", "--fix and --vary both name loss"),
        (PHASE_1, "--recipe-point lr=fast", "--recipe-point lr is 'fast', but must be"),
        (PHASE_1, "--recipe-point lr", "--recipe-point is lr, but must be NAME=VALUE"),
        (PHASE_1, "--recipe-point lr=1e-3 lr=1e-4", "--recipe-point has lr twice"),
        (PHASE_1, "--recipe-point depht=4", "--recipe-point names depht, but must name one of lr, augmentation"),
        (PHASE_1, "--recipe-point focal_weight=0.5", "--recipe-point names focal_weight, but the loss of"),
        (
            PHASE_2,
            "--recipe-point bce_weight=0.95",
            "--recipe-point bce_weight is 0.95, but the search of unet:efficientnet_lite0@scratch takes 0.1 … 0.9: "
            "give one of these, or --fix bce_weight=0.95",
        ),
    ],
)
def test_flags_that_cannot_be_are_refused(phase, flags, words, refused):
    assert refused(phase, flags).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1: 2", "setting 1 is unknown"),
        ("trails: 3", "setting 'trails' is unknown: did you mean trials?"),
        *(
            (f"{name}: 1", f"setting {name!r} is unknown: ")
            for name in ("resume", "max_hours", "hang_minutes", "reopen")
        ),
        ("- trials", "--config study.yaml holds list"),
        ("trials: [", "--config study.yaml is no YAML"),
        ("trials: -1", "--trials is -1, but must be"),
        ("draws_per_epoch: 1", "--draws-per-epoch is 1, but must be"),
        ("profile: [quick]", "--profile is ['quick'], but must be"),
        ("seed: abc", "--seed is 'abc', but must be"),
        ("out: [a]", "out is ['a'] in the file of --config, but must be a path"),
        ("out: 5", "out is 5 in the file of --config, but must be a path"),
        ("out: ''", "out is '' in the file of --config, but must be a path"),
        ("out: ~nobody-here/x", "out is '~nobody-here/x' in the file of --config, but must be a path"),
        ("weights: []", "--weights is [], but"),
        ("weights: [1]", "--weights is 1, but must be"),
        ("weights: {sam_vit_b: sam.pth}", "--weights is "),
        ("weights:", "--weights is None, but must be"),
        ("profile: full\nweights:", "--weights is None, but must be"),
        ("with_recipe: true\nseeds: 0", "--seeds is 0, but --with-recipe trains the recipe as final models"),
        ("weights: 1.5", "--weights is 1.5, but must be"),
    ],
)
def test_files_that_cannot_be_are_refused(text, words, tmp_path, refused):
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert refused(PHASE_2, "--config study.yaml").startswith(words)


@pytest.mark.parametrize(("written", "asked"), [(PHASE_1, PHASE_2), (PHASE_2, PHASE_1), (PHASE_2, PHASE_3)])
def test_settings_of_another_phase_are_refused(written, asked, tmp_path, refused):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(read(phase=written).flat()), encoding="utf-8")
    words = f"these settings are of {written}: run studies/{written}.py with them"
    assert refused(asked, "--config study.yaml") == words


@pytest.mark.parametrize(("answers", "words"), [(True, "needs a login"), (False, "cannot reach 127.0.0.1")])
def test_wandb_online_that_cannot_work_is_refused(answers, words, tmp_path_factory, monkeypatch, refused):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if answers else 1
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        wandb.teardown()
        try:
            assert words in refused(PHASE_2, "--wandb online")
        finally:
            wandb.teardown()
