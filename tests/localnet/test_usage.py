"""Wrong options and arguments: with `--json` one JSON object on standard error and nothing else."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
import typer

from localnet.cli import main
from storage.client.cli import _source, _target
from storage.client.files import STANDARD, is_stream
from storage.redstuff import blob_id_text

WRONG = (
    "blob store",
    "blob store nowhere",
    "blob store .",
    "blob read no-id out",
    f"blob read {'A' * 43} folder/",
    "blob certify x file",
    "blob-id nowhere",
    "blob-id . --shards 10",
    "blob-id file --shards 3",
    "epoch status --colour",
    "epoch nonsense",
    "nonsense",
    "stake add 1 nothing",
    "account fund 0x12 1",
    "node init folder --port 70000",
    "deploy manifest --epoch-s 0",
    "localnet --nodes 0",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HAULOUT_RPC", "HAULOUT_DEPLOYMENT", "HAULOUT_KEY_FILE", "HAULOUT_KEY"):
        monkeypatch.delenv(name, raising=False)


def ended(monkeypatch: pytest.MonkeyPatch, words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["haulout", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_use_is_json_where_json_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert ended(monkeypatch, f"{words} --json") == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.count("\n") == 1
    assert json.loads(errors)["error"]


@pytest.mark.parametrize("words", ["blob store nowhere", "epoch nonsense"])
def test_a_wrong_use_is_told_to_people_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert ended(monkeypatch, words) == 2
    usage, advice, line = capsys.readouterr().err.splitlines()
    assert usage.startswith("Usage:") and advice.endswith("--help' for help.")
    assert line.startswith("haulout: ") and words.split()[-1] in line


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "\x1b[2J", "a\x08b", "\u202etxt"])
@pytest.mark.parametrize(
    "words", ["blob store {}", "blob read {} out", "blob certify {} f", "{}", "demo --{}"]
)
def test_the_words_of_a_wrong_use_cannot_write_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, name: str
) -> None:
    """The name of a file may be a stranger's."""
    assert ended(monkeypatch, words.format(name)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.isprintable() for line in lines)


def test_a_long_path_is_not_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that it can be copied."""
    path = "folder/" * 30 + "file"
    assert ended(monkeypatch, f"blob store {path}") == 2
    assert path in capsys.readouterr().err


def test_a_command_without_words_is_helped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("", "blob"):
        assert ended(monkeypatch, words) == 2
        out, errors = capsys.readouterr()
        assert "Usage:" in out and errors == ""


def test_a_folder_that_is_gone_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert ended(monkeypatch, "localnet new") == 1
    assert capsys.readouterr().err == "haulout: the current folder is gone: change to one that is there\n"


def test_paths_of_options_may_begin_with_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No shell has seen what comes from the environment, and few look behind the "=" of an option."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HAULOUT_RPC", "http://127.0.0.1:1")
    monkeypatch.setenv("HAULOUT_DEPLOYMENT", "~/d.json")
    for words in ("epoch status", "epoch status --deployment=~/d.json", "node init n"):
        assert ended(monkeypatch, words) == 1
        assert f"manifest {tmp_path}/home/d.json" in capsys.readouterr().err
    assert ended(monkeypatch, "deploy new.json --price 1 --write-price 1 --key-file=~/owner.key") == 1
    assert f"the key {tmp_path}/home/owner.key" in capsys.readouterr().err


def test_a_name_that_ends_as_a_folders_does_names_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_bytes(b"walrus")
    Path("folder").mkdir()
    for name, why in (("file/", "there is no file file/"), ("folder/", "folder/ is a folder")):
        assert ended(monkeypatch, f"blob-id {name} --shards 10") == 2
        assert why in capsys.readouterr().err


NETWORK = "--rpc http://127.0.0.1:1 --deployment nowhere --json"


@pytest.mark.parametrize("first_byte", [b"\xf8", b"\xfb\xef\xbe"], ids=["one dash", "many"])
@pytest.mark.parametrize("words", ["status {id}", "read {id} out", "read {id} {id}"])
def test_a_blob_id_that_begins_as_options_do_is_a_blob_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, first_byte: bytes
) -> None:
    blob_id = blob_id_text(first_byte.ljust(32, b"\0"))
    assert blob_id.startswith("-")
    command, _, rest = words.format(id=blob_id).partition(" ")
    for line in (f"{command} {rest} {NETWORK}", f"{command} {NETWORK} {rest}"):
        assert ended(monkeypatch, f"blob {line}") == 1
        assert "manifest nowhere" in json.loads(capsys.readouterr().err)["error"]  # so the words were right
    assert ended(monkeypatch, f"blob status {blob_id[:-1]} {NETWORK}") == 2


@pytest.mark.parametrize("options", ["", " --json"])
@pytest.mark.parametrize("out", [None, "/dev/full"])
def test_an_answer_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str | None, options: str
) -> None:
    Path("file").write_bytes(b"walrus")
    with contextlib.ExitStack() as stack:
        stream = out and stack.enter_context(Path(out).open("w"))
        monkeypatch.setattr(sys, "stdout", stream or None)
        assert ended(monkeypatch, f"blob-id file --shards 10{options}") == 1
    assert "the result cannot be written to standard output" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_the_one_that_is_open(text: str) -> None:
    """Opened by its name, it would be the shell's empty file, which exists."""
    assert is_stream(_target(text)) and _target(text) == STANDARD


@pytest.mark.parametrize(("text", "why"), [("", "no file is named"), ("folder/", "names a folder")])
def test_output_goes_to_a_file_that_is_named(text: str, why: str) -> None:
    """Of a variable that is empty the shell makes an empty word, and `Path` makes that the working folder."""
    with pytest.raises(typer.BadParameter, match=why):
        _target(text)


@pytest.mark.parametrize("text", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_standard_input_is_the_one_that_is_open(text: str) -> None:
    """nodejs/node#21941: some programs give a socket to those that they start, which no name opens."""
    assert _source(text) == STANDARD


def test_a_right_use_ends_with_0_and_help_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_bytes(b"walrus")
    assert ended(monkeypatch, "blob-id file --shards 10 --json") == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] == 6
    assert ended(monkeypatch, "blob store --help --json") == 0
    assert "Usage:" in capsys.readouterr().out
