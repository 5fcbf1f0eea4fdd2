import pytest

from trainables.common.whole_files import digest, part_path, write_all, write_whole


def test_digest_is_sha256_of_the_bytes(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    # FIPS 180-2, example B.1
    assert digest(tmp_path / "w") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


LONGEST = "x" * 251 + ".jpg"
"""As long as a name can be: what a tile's id of 251 letters makes of a picture."""


@pytest.mark.parametrize("write", [write_whole, lambda path, content: write_all({path: content})])
def test_the_longest_names_can_be_written(tmp_path, write):
    for content in (b"first", b"second"):
        write(tmp_path / LONGEST, content)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(LONGEST, content)]


def test_names_before_a_file_is_whole_are_its_own(tmp_path):
    assert part_path(tmp_path / "a.png").name == ".a.png.part"
    assert part_path(tmp_path / LONGEST) != part_path(tmp_path / LONGEST.replace("jpg", "png"))
