"""Where trials run: Ray, its workers, and what becomes of them. The only room that imports Ray."""
