"""The table of data sets that `python -m trainables.prepare` knows besides Inria: a new one is a file and a row."""

from trainables.datasets import cityscapes, deepglobe, landcover, massachusetts, pickled
from trainables.datasets.sources.plan import Adapter

ADAPTERS: dict[str, Adapter] = {
    "deepglobe": deepglobe.ADAPTER,
    "massachusetts": massachusetts.ADAPTER,
    "cityscapes": cityscapes.ADAPTER,
    "landcover": landcover.ADAPTER,
    "pickled": pickled.ADAPTER,
}
