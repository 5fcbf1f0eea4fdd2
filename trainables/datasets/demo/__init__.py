"""Built-in demo tiles, drawn by rules, for a study without data: scenes seen from above and their roof masks.

Imports run one way: materials -> render -> solids -> plan (with kinds) -> lots, buildings -> layout -> files -> folder.
"""

from trainables.datasets.demo.folder import write_demo_tiles

__all__ = ["write_demo_tiles"]
