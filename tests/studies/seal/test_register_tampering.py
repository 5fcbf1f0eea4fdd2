"""Registers that were tampered with, moved or lost: what is refused, and what is remembered."""

import json

import pytest

from studies.seal.register import Known, Register, when
from tests.studies.seal.registers import add, attempts, content, lines_of, make, reseal
from trainables.common.errors import UserError


def refusal(register: Register) -> str:
    with pytest.raises(UserError) as error:
        register.read()
    return str(error.value)


# What was tampered with


def test_read_of_nothing_knows_nothing(root):
    assert make(root).read() == Known((), (), (), ())


@pytest.mark.parametrize(("file", "number"), [("path", 1), ("path", 2), ("path", 3), ("memory", 1), ("own", 1)])
def test_read_refuses_an_edited_line(root, file, number):
    register = make(root)
    add(register, "a", "b", "c")
    path = getattr(register, file)
    lines = lines_of(path)
    lines[number - 1] = lines[number - 1].replace(b'"unet"', b'"umet"')
    path.write_bytes(b"".join(lines))
    assert refusal(register).startswith(f"{path}, line {number}: its hash does not fit what it says")


@pytest.mark.parametrize("foreign", ['{"event": "opened"}', "[1]", "17", "null", '{"hash": ""}'])
def test_read_refuses_json_that_is_no_line(root, foreign):
    register = make(root)
    add(register, "a")
    with register.path.open("a") as file:
        file.write(foreign + "\n")
    assert refusal(register).startswith(f"{register.path}, line 2: its hash does not fit what it says")


@pytest.mark.parametrize("missing", [1, 2])
def test_read_refuses_a_file_without_its_first_or_an_inner_line(root, missing):
    register = make(root)
    add(register, "a", "b", "c")
    lines = lines_of(register.path)
    del lines[missing - 1]
    register.path.write_bytes(b"".join(lines))
    assert refusal(register).startswith(f"{register.path}, line {missing} does not follow the line before it")


def test_read_refuses_a_line_put_in_with_a_hash_of_its_own(root):
    register = make(root)
    add(register, "a", "b")
    first, second = lines_of(register.path)
    forged = reseal(json.loads(first), attempt="z", prev=json.loads(first)["hash"])
    register.path.write_bytes(first + forged + second)
    assert refusal(register).startswith(f"{register.path}, line 3 does not follow the line before it")


def test_read_refuses_an_inner_line_that_was_made_unreadable(root):
    register = make(root)
    add(register, "a", "b", "c")
    lines = lines_of(register.path)
    register.path.write_bytes(lines[0] + b"x\xff" + lines[1] + lines[2])
    assert refusal(register).startswith(f"{register.path}, line 2 is no JSON, and line 3 does not follow")


@pytest.mark.parametrize("num_left", [2, 1, 0])
def test_lines_removed_from_the_end_are_remembered(root, num_left):
    register = make(root)
    add(register, "a", "b", "c")
    register.path.write_bytes(b"".join(lines_of(register.path)[:num_left]))
    known = register.read()
    assert attempts(known) == ["a", "b", "c"]
    count = {2: "1 opening of these tiles is", 1: "2 openings of these tiles are", 0: "3 openings of these tiles are"}
    assert known.notes == (f"{count[num_left]} recorded in {register.memory} but not in {register.path}",)


def test_a_removed_file_is_remembered_and_a_new_one_starts_a_chain(root):
    register = make(root)
    add(register, "a", "b")
    register.path.unlink()
    add(register, "c")
    assert attempts(register.read()) == ["a", "b", "c"]
    assert [json.loads(line)["prev"] for line in lines_of(register.path)] == [""]


def test_removed_results_are_told_as_results(root):
    register = make(root)
    add(register, "a")
    register.append(lambda lines: content("a", "result"))
    register.path.write_bytes(lines_of(register.path)[0])
    assert register.read().notes == (
        f"1 result of these tiles is recorded in {register.memory} but not in {register.path}",
    )


def test_a_line_that_only_the_study_holds_is_refused_until_it_is_put_back(root):
    register = make(root)
    add(register, "a", "b")
    time = when(register.read().lines[1])
    for path in (register.path, register.memory):
        path.write_bytes(lines_of(path)[0])
    assert refusal(register).startswith(f"{register.own} holds a line (opened {time})")
    with pytest.raises(UserError, match="holds a line"):
        add(register, "c")
    with register.memory.open("ab") as file:
        file.write(register.own.read_bytes())
    assert attempts(register.read()) == ["a", "b"]


def test_a_file_that_cannot_be_read_is_refused(root):
    register = make(root)
    register.path.mkdir()
    assert refusal(register).startswith(f"{register.path} cannot be read (Is a directory)")


# What the user's file is for


def test_other_tiles_know_nothing_of_these(root, tmp_path):
    add(make(root), "a")
    (tmp_path / "other").mkdir()
    other = Register(tmp_path / "other", "e" * 64, own=tmp_path / "runs/two/seal.jsonl")
    assert other.read() == Known((), (), (), ())


def test_lines_from_another_machine_are_remembered_once_seen(root):
    register = make(root)
    add(register, "a", "b")
    register.memory.unlink()
    register.remember(register.read())
    assert lines_of(register.memory) == lines_of(register.path)
    register.remember(register.read())
    assert lines_of(register.memory) == lines_of(register.path)
    register.memory.unlink()
    add(register, "c")
    assert lines_of(register.memory) == lines_of(register.path)


def test_lines_removed_under_changed_tiles_are_remembered(root):
    add(make(root), "a", "b", "c")
    path = make(root).path
    path.write_bytes(lines_of(path)[0])
    changed = make(root, "two", digest="e" * 64)
    assert attempts(changed.read()) == ["a", "b", "c"]
    assert changed.read().notes == (f"2 openings of these tiles are recorded in {make(root).memory} but not in {path}",)
