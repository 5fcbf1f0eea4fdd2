"""Rules of the house: sizes of folders and files.

A folder of product holds about 14 Python files, and at most 18: what is more belongs into a folder of its own.
"""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("analysis", "benchmarks", "searchspace", "studies", "trainables")
MOST_FILES = 18
MOST_LINES = 300


def count_lines(*folders: str) -> dict[str, int]:
    """Lines by file, relative to the project."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n") for path in paths}


def test_no_folder_of_product_has_too_many_files():
    sizes = Counter(Path(path).parent.as_posix() for path in count_lines(*PRODUCT))
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_no_file_is_too_long():
    assert {path: size for path, size in count_lines(*PRODUCT, "tests").items() if size > MOST_LINES} == {}
