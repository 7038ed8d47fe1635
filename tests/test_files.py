"""Files that are written: whole or not at all, where they were meant to be, for whom they are."""

from __future__ import annotations

import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from opencrypto import UsageError
from opencrypto.files import PRIVATE, PUBLIC, read_private, writing
from tests.other_users import NOBODY, SOMEBODY, common, give_away, only_root, run_as

__all__ = ["common"]


def write(path: Path | str, content: bytes = b"new", mode: int = PRIVATE) -> None:
    """Write a file."""
    with writing(path, mode) as file:
        file.write(content)


def leftovers(folder: Path) -> list[str]:
    """Name what is in a folder and hidden."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# Whole, or not at all.


def test_it_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with writing(target, PRIVATE) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_who_fails_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(error), writing(target) as file:
        file.write(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_no_name_can_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with writing(tmp_path / "out"):
            (name,) = leftovers(tmp_path)
            assert str(os.getpid()) not in name.split(".")
            names.add(name)
    assert len(names) == 2


@pytest.mark.parametrize("name", ["x" * 255, "\N{SNOWMAN}" * 85])
def test_a_name_may_be_as_long_as_a_name_may_be(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize(("mode", "becomes"), [(PRIVATE, 0o600), (PUBLIC, 0o640)])
def test_what_is_private_is_its_owners_whatever_was_there(
    tmp_path: Path, mode: int, becomes: int
) -> None:
    """Captures were written 0644, decrypted ones too."""
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o666)
    before = os.umask(0o027)
    try:
        with writing(target, mode):
            (part,) = tmp_path.glob(".*")
            assert stat.S_IMODE(part.stat().st_mode) == becomes, "and is so from the beginning"
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == becomes


def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write(target, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_new_one_replaces_none(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with writing(target, new=True) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), writing(target, new=True):
        pytest.fail("it is there")
    with pytest.raises(FileExistsError), writing(tmp_path / "late", new=True):
        (tmp_path / "late").write_bytes(b"came meanwhile")
    assert target.read_bytes() == b"first"
    assert (tmp_path / "late").read_bytes() == b"came meanwhile"
    assert leftovers(tmp_path) == []


# Where it was meant to be.


def test_ones_own_link_is_written_through(tmp_path: Path) -> None:
    """It was replaced by a file, /dev/stdout as root too."""
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "out", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("elsewhere/out")
    (tmp_path / "folder").symlink_to("elsewhere")
    for name in ("link", "folder/out", "elsewhere/../link"):
        write(tmp_path / name, name.encode())
        assert target.read_bytes() == name.encode()
    assert link.is_symlink()
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere" / "other")
    write(tmp_path / "dangling")
    assert (tmp_path / "elsewhere" / "other").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["link", "folder/out"])
def test_somebody_elses_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / "elsewhere" / "out"
    target.parent.mkdir()
    target.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "folder").symlink_to(target.parent)
    give_away(tmp_path / name.partition("/")[0], monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="symbolic link of user"):
        write(name)
    assert target.read_bytes() == b"precious"


@only_root
def test_a_link_that_is_exchanged_as_it_is_read_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was judged by its name, and then read by its name: two looks, with time in between."""
    victim, link = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"precious")
    link.symlink_to(tmp_path / "mine")
    lstat = os.lstat

    def exchanging(name: str, *, dir_fd: int) -> os.stat_result:
        found = lstat(name, dir_fd=dir_fd)
        if name == link.name:
            link.unlink()
            link.symlink_to(victim)
            os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        return found

    monkeypatch.setattr(os, "lstat", exchanging)
    with pytest.raises(UsageError, match="symbolic link of user"):
        write(link)
    assert victim.read_bytes() == b"precious"


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="links"):
        write(tmp_path / "a")


def test_a_planted_part_file_is_not_written_through(tmp_path: Path) -> None:
    """The part file had a name that anybody could foresee, and was opened through a link there."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".out.{os.getpid()}.part").symlink_to(victim)
    write(tmp_path / "out")
    assert victim.read_bytes() == b"precious"


@only_root
def test_in_a_folder_of_all_nobody_is_led_astray(common: Path) -> None:
    """The victim is one user, who plants links in the folder another."""
    victims = common / "victims"
    assert run_as(NOBODY, lambda: victims.write_bytes(b"precious")) == "8"
    plant = lambda: (common / "out").symlink_to(victims)
    assert run_as(SOMEBODY, plant) == "None"
    assert "symbolic link of user" in run_as(NOBODY, lambda: write(common / "out"))
    assert victims.read_bytes() == b"precious"
    # Somebody else's file gives way to one of one's own.
    assert run_as(SOMEBODY, lambda: (common / "theirs").write_bytes(b"theirs")) == "6"
    assert run_as(NOBODY, lambda: write(common / "theirs")) == "None"
    found = (common / "theirs").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o600)


def test_what_is_put_in_its_place_at_the_last_moment_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that others may write they can exchange the part file before it has its name."""
    rename = os.rename

    def exchanging(part: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.unlink(part, dir_fd=src_dir_fd)
        os.symlink("/etc/passwd", part, dir_fd=src_dir_fd)
        rename(part, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", exchanging)
    with pytest.raises(UsageError, match="somebody has put something else"):
        write(tmp_path / "out")


# Written straight.


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(10)
    assert heard == [b"new"]
    assert pipe.is_fifo()


def test_somebody_elses_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He would read what was decrypted."""
    os.mkfifo(tmp_path / "pipe")
    give_away(tmp_path / "pipe", monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="pipe of user"):
        write("pipe")


def test_what_is_open_already_is_written_where_it_stands(tmp_path: Path) -> None:
    """Behind what is there, as a shell's ``>>`` and ``{ a; b; } >`` mean it."""
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"before ")
        write(f"/dev/fd/{file.fileno()}")
        write(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    assert (tmp_path / "out").read_bytes() == b"before newnew"
    write("/dev/null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_full_device_is_named(size: int) -> None:
    with pytest.raises(OSError, match="/dev/full"):
        write("/dev/full", b"x" * size)


@pytest.mark.parametrize("path", ["/", ".", "..", "/usr", ""])
def test_a_folder_is_no_file(path: str) -> None:
    with pytest.raises(IsADirectoryError):
        write(path)


@pytest.mark.parametrize(
    ("name", "error"),
    [("no/such/out", FileNotFoundError), ("file/out", NotADirectoryError)],
)
def test_what_is_no_folder_is_named(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error) as caught:
        write(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)


# Read, if nobody else can.


def test_secrets_are_read_from_ones_own_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    assert read_private(path) == b"secret"


def test_secrets_of_another_users_file_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns it knows the keys, and can change them."""
    path = tmp_path / "keys"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    give_away(path, monkeypatch)
    with pytest.raises(UsageError, match="belongs to user"):
        read_private(path)
