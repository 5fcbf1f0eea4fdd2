from trainables.whole_files import digest


def test_digest_is_sha256_of_the_bytes(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    # FIPS 180-2, example B.1
    assert digest(tmp_path / "w") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
