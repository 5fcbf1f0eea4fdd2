"""The kinds of demo scene: how each is laid out, built and overgrown."""

from dataclasses import dataclass

MIN_SIZE_PX = 128
"""Side of the smallest scene (px)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of scene.

    Attributes:
        block_m, street_m, lot_m: Shortest side of a block, width of its streets, shortest side of a lot.
        road, verge, ground: Surfaces of the streets, the strip beside them, and the blocks.
        roof_fraction: Range of the share of roof that building stops at.
        roofs: Surfaces that roofs may have; a scene uses few of them.
        forms: Forms that roofs may have.
        largest_m: Longest side of a building's main wing.
        fill: Range of the share of a lot's side that a building takes.
        vacant: What lots without a building become.
        vacancy: Chance that a lot stays without a building.
        wobble: Deviation of a building's direction from its street's, in radians.
        trees: Mean number of free-standing trees per 1000 m².
    """

    name: str
    block_m: float
    street_m: float
    lot_m: float
    road: str
    verge: str
    ground: tuple[str, ...]
    roof_fraction: tuple[float, float]
    roofs: tuple[str, ...]
    forms: tuple[str, ...]
    largest_m: float
    fill: tuple[float, float]
    vacant: tuple[str, ...]
    vacancy: float
    wobble: float
    trees: float


KINDS = (
    Kind(
        name="informal", block_m=22, street_m=3.2, lot_m=5.5, road="soil", verge="soil",
        ground=("soil", "soil", "paving"),
        roof_fraction=(0.3, 0.42), roofs=("metal", "metal", "painted", "tile", "concrete", "thatch"),
        forms=("shed", "gable", "shed", "flat"), largest_m=13, fill=(0.8, 0.98),
        vacant=("swept", "garden", "slab", "swept", "yard"), vacancy=0.13, wobble=0.09, trees=1.6,
    ),
    Kind(
        name="suburb", block_m=34, street_m=7, lot_m=12.5, road="asphalt", verge="concrete",
        ground=("grass", "grass", "soil"),
        roof_fraction=(0.2, 0.32), roofs=("tile", "slate", "tile", "painted", "metal"),
        forms=("gable", "hip", "hip", "gable"), largest_m=16, fill=(0.6, 0.86),
        vacant=("garden", "pool", "court", "slab", "swept"), vacancy=0.12, wobble=0.03, trees=4.5,
    ),
    Kind(
        name="town", block_m=36, street_m=9, lot_m=15, road="asphalt", verge="paving",
        ground=("concrete", "asphalt", "paving"),
        roof_fraction=(0.28, 0.42), roofs=("bitumen", "gravel", "concrete", "metal", "tile"),
        forms=("flat", "flat", "flat", "hip", "gable"), largest_m=32, fill=(0.72, 0.95),
        vacant=("car_park", "court", "yard", "garden", "car_park"), vacancy=0.22, wobble=0.0, trees=2.5,
    ),
    Kind(
        name="rural", block_m=40, street_m=4, lot_m=13, road="soil", verge="grass",
        ground=("grass", "soil", "gravel"),
        roof_fraction=(0.13, 0.22), roofs=("metal", "tile", "slate", "painted", "thatch"),
        forms=("gable", "gable", "hip", "shed"), largest_m=30, fill=(0.7, 0.94),
        vacant=("yard", "swept", "garden", "slab"), vacancy=0.2, wobble=0.04, trees=2.2,
    ),
)  # fmt: skip
"""The scene kinds, in turn: scene i is of kind i modulo their number."""
