"""Loads and checks what a study starts from: tiles, weights, and the configuration of its W&B run."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.files import folder
from studies.logs import wandb_variables
from studies.settings.arms import Arm
from studies.settings.labels import check_enough_labels, networks_by_budget
from studies.spec import BUDGETS, StudySpec
from trainables.check_config import check_config
from trainables.common.errors import UserError
from trainables.data.dataset import Dataset, read_dataset
from trainables.data.decode import decode_open
from trainables.data.duplicates import Thumbnails
from trainables.data.masks import MaskRule
from trainables.data.tiles import Tiles, TrainVal
from trainables.datasets.demo import write_demo_tiles
from trainables.folds.split import pooled
from trainables.models.architectures import ARCHITECTURES
from trainables.models.composed.names import get_architecture
from trainables.models.own.files import NETWORKS, is_own, known_digests
from trainables.models.weights import KEYWORDS, encoder_of, fetch_weights, known_digest, weights_for
from trainables.names import left_out

DEMO_TILES = Path("runs/demo-tiles")

LIBRARIES = ("ray", "optuna", "torch", "segmentation-models-pytorch", "timm", "albumentations", "wandb")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInputs:
    """A spec that was checked against its tiles, with everything that starting it needs.

    Attributes:
        spec: With paths and budgets filled in.
        dataset: The folder of tiles.
        tiles: Train and val tiles, decoded; all of them as train tiles where budgets are of labels.
        digests: SHA-256 of the pretrained weights, by encoder.
        facts: What study.yaml and the logs say of tiles, weights and versions.
        rule: What the values of train and val masks mean.
        thumbnails: Of the images of train and val, by split.
    """

    spec: StudySpec
    dataset: Dataset
    tiles: TrainVal
    digests: dict[str, str]
    facts: dict[str, Any]
    rule: MaskRule
    thumbnails: Mapping[str, Thumbnails]

    @property
    def scored_tiles(self) -> str:
        """What tells the tiles that models are scored on, and how they are scaled, from others."""
        return f"{self.facts['tiles_digest']} {self.tiles.scale}"

    @property
    def judging(self) -> Tiles:
        """The tiles that judge trials: val, or all labels, of which each trial holds some out."""
        return self.tiles.val if self.spec.labels is None else self.tiles.train

    def num_networks(self, arm: Arm) -> int:
        """How many networks a trial of an arm's search trains: one, or one per fold of its labels."""
        return networks_by_budget(self.spec, self.tiles).get(arm.tiles, 1)

    @property
    def train_px(self) -> int:
        """Longest side of a train tile."""
        return max(int(side) for mask in self.tiles.train.masks for side in mask.shape)

    @property
    def scored_sizes(self) -> set[tuple[int, int]]:
        """Heights and widths of the tiles that whole models are scored on; of test tiles as their headers say."""
        test = [tile for files in self.dataset.test_sets for tile in files.tiles] if self.spec.test else []
        val = {(mask.shape[0], mask.shape[1]) for mask in self.judging.masks}
        return val | {(tile.height_px, tile.width_px) for tile in test}


def load_inputs(
    spec: StudySpec, console: Console, *, is_dry_run: bool = False, keeps_tiles: bool = True
) -> StudyInputs:
    """Loads the tiles and checks all that can be checked before anything starts, cheapest first.

    Args:
        spec: The study.
        console: Where notes are shown.
        is_dry_run: Whether nothing is logged: W&B need not show that it starts a run where nothing is set that could
            keep it from that.
        keeps_tiles: Whether the tiles' pixels are kept, to train on (see `decode_open`).

    Raises:
        UserError: The spec, the weights or the tiles do not allow it.
    """
    for name in ("architectures", "tiles", "labels"):
        values = getattr(spec, name) or ()
        if len(set(values)) < len(values):
            raise UserError(f"--{name} names one of {', '.join(map(str, values))} twice: name each once")
    _check_networks_differ(spec.architectures)
    spec, digests = _find_weights(spec)
    checks_wandb = spec.wandb == "online" or (
        spec.wandb == "offline" and not (is_dry_run and wandb_variables.are_unset())
    )
    if checks_wandb:
        from studies.logs import wandb_checks  # here: a dry run seldom needs W&B, which takes a second to import

        for note in wandb_checks.check_variables():
            console.print(f"Note: {note}", highlight=False, soft_wrap=True)
        if spec.wandb == "online":
            wandb_checks.check_online()
    if spec.data is None:
        console.print(f"no --data given: using built-in demo tiles in {DEMO_TILES}", highlight=False)
    root = Path(spec.data) if spec.data is not None else write_demo_tiles(DEMO_TILES)
    dataset = read_dataset(root, spec.bands)
    if spec.data is not None:  # a study can be resumed from any folder
        spec = spec.model_copy(update={"data": str(root.absolute())})
    if spec.labels is not None:
        check_enough_labels(spec, len(dataset.train.tiles), len(dataset.val.tiles))
    elif spec.tiles is None:
        spec = spec.model_copy(update={"tiles": _budgets(spec, len(dataset.train.tiles))})
    decoded = decode_open(dataset, keep=keeps_tiles)
    tiles, tiles_digest = decoded.tiles, decoded.digest
    notes = (*dataset.notes, *tiles.notes)
    if spec.labels is not None:
        tiles = pooled(tiles)
    for note in notes:
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    for arm in spec.arms():
        check_config(arm.config(spec, {"lr": 1e-3}, digests, init_seed=0), tiles)
    for arm in spec.arms():
        if is_own(arm.architecture):
            from trainables.check_network import check_network  # here: it imports torch

            check_network(arm.config(spec, {"lr": 1e-3}, digests, init_seed=0), tiles.info)
    for name, chosen in spec.chosen.items():
        if chosen.tiles_digest != tiles_digest:
            console.print(f"Note: {name} was tuned by {chosen.study} on other train or val tiles", highlight=False)
        if chosen.profile != spec.profile:
            console.print(f"Note: {name} was tuned by {chosen.study} in profile {chosen.profile}", highlight=False)
    if not tiles.is_photograph:
        names = ", ".join(left_out("EXTREME"))
        console.print(f"tiles are not 8-bit RGB: the presets do without {names}", highlight=False)
    if checks_wandb:
        wandb_checks.check_start()
    facts = {
        "tiles_digest": tiles_digest,
        "num_train_tiles": len(tiles.train),
        "num_val_tiles": len(tiles.val),
        "data_notes": list(notes),
        "weights_digests": digests,
        "network_digests": known_digests(spec.architectures),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    return StudyInputs(
        spec=spec,
        dataset=dataset,
        tiles=tiles,
        digests=digests,
        facts=facts,
        rule=decoded.rule,
        thumbnails=decoded.thumbnails,
    )


def _check_networks_differ(names: Iterable[str]) -> None:
    """Refuses two names of one network, such as `unet:resnet34` and `unet:resnet34@staged`."""
    first: dict[tuple[str, str | None, str], str] = {}
    for name in names:
        if name not in ARCHITECTURES and not is_own(name):  # these have recipes of their own
            row = get_architecture(name)
            other = first.setdefault((row.decoder, row.encoder, row.adaptation), name)
            if other != name:
                raise UserError(f"--architectures names {other} and {name}, which are one network: leave one out")


def _budgets(spec: StudySpec, num_tiles: int) -> tuple[int, ...]:
    """The data budgets where none are named: phase 3's, as far as there are so many tiles; else all tiles."""
    if not spec.has_subsets:
        return (num_tiles,)
    return tuple(sorted({min(budget, num_tiles) for budget in BUDGETS}))


def _find_weights(spec: StudySpec) -> tuple[StudySpec, dict[str, str]]:
    """The spec with absolute paths of weights, since workers have other folders, and the digests by encoder."""
    rows = [get_architecture(name) for name in spec.architectures if not is_own(name)]  # those load their own
    known = {row.encoder for row in (*ARCHITECTURES.values(), *rows) if row.encoder}
    for choice in spec.weights:
        if (encoder := encoder_of(choice)) and encoder not in known:
            raise UserError(f"--weights {choice} is for {encoder!r}, but must be for one of {', '.join(sorted(known))}")
    taken: dict[str, str] = {}
    for row in rows:
        if row.encoder and row.adaptation != "scratch":
            weights = Arm(row.name, 0).weights(spec)
            if taken.setdefault(row.encoder, weights) != weights:
                raise UserError(
                    f"--architectures {row.name} has the encoder {row.encoder} with the weights {weights}, but another "
                    f"one has it with {taken[row.encoder]}: name the weights of both by --weights {row.encoder}=…"
                )
    for path in {choice for choice in spec.weights if encoder_of(choice) is None} - set(KEYWORDS):
        if path not in taken.values():
            names = ", ".join(spec.architectures)
            raise UserError(f"--weights {path} is taken by none of the architectures ({names}): leave it out")
        if len(takers := sorted(encoder for encoder, weights in taken.items() if weights == path)) > 1:
            raise UserError(
                f"--weights {path} is one file, but {' and '.join(takers)} need one each: write ENCODER=PATH"
            )
    for choice in spec.weights:
        if (encoder := encoder_of(choice)) and encoder not in taken:
            fetch_weights(
                weights_for(spec.weights, encoder), encoder
            )  # nobody needs it, but a mistake is reported all the same
    files = {encoder: fetch_weights(weights, encoder) for encoder, weights in taken.items()}
    absolute = {e: weights if weights in KEYWORDS else str(Path(weights).absolute()) for e, weights in taken.items()}
    found = tuple(f"{encoder}={weights}" for encoder, weights in absolute.items()) or ("none",)
    return (
        spec.model_copy(update={"weights": found}),
        {encoder: known_digest(path) for encoder, path in files.items() if path is not None},
    )


def check_unchanged(inputs: StudyInputs, out: Path, console: Console) -> dict[str, Any]:
    """The provenance of the study in the folder.

    Raises:
        UserError: The study began with another spec, other tiles or other weights.
    """
    settings, provenance = folder.load_frozen(out)
    frozen = StudySpec.from_flat(settings)
    if changes := _by_digest(inputs.spec, inputs.digests).changes(_by_digest(frozen, inputs.digests)):
        raise UserError(
            f"--resume cannot change what the study {out} is ({'; '.join(changes)}): leave these flags out, or start "
            "in another folder; only --trials and --seeds may grow, and --test and --with-recipe may be added"
        )
    if provenance.get("tiles_digest") != inputs.facts["tiles_digest"]:
        raise UserError(
            f"the train or val tiles of {inputs.spec.data or DEMO_TILES} are not those that the study {out} began "
            "with: put these back, or start in another folder"
        )
    if provenance.get("weights_digests") != inputs.digests:
        raise UserError(
            f"the pretrained weights are not those that the study {out} began with: put these back, or start in "
            "another folder"
        )
    networks = provenance.get("network_digests", {})
    if other := [name for name, digest in inputs.facts["network_digests"].items() if networks.get(name) != digest]:
        raise UserError(
            f"{other[0]} is not the file that the study {out} began with: put that file back into {out / NETWORKS}, or "
            "start in another folder"
        )
    then, now = provenance.get("versions", {}), inputs.facts["versions"]
    if newer := [f"{name} {then.get(name, 'unknown')} → {now[name]}" for name in now if then.get(name) != now[name]]:
        console.print(f"Note: versions changed since the study began: {', '.join(newer)}", highlight=False)
    return provenance


def _by_digest(spec: StudySpec, digests: dict[str, str]) -> StudySpec:
    """The spec without the paths of weights: their digests are compared apart, and files may move."""
    weights = [f"{e}=file" if (e := encoder_of(choice)) in digests else choice for choice in spec.weights]
    return spec.model_copy(update={"weights": tuple(weights)})
