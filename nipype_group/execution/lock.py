"""A folder that one run at a time uses."""

import json
import logging
import os
import socket
import threading
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from nipype_group.json_files import read_json
from nipype_group.whole_files import check_regular

LOCK_NAME = ".nipype_group.lock"
# The heartbeat tells other machines that the run lives; ten missed ones mean that it does not.
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 10 * HEARTBEAT_SECONDS


_OWNER = {
    "token": str,
    "host": str,
    "pid": int,
    "process_start?": (str, type(None)),
    "process_space": [str],
    "since": str,
}
LOGGER = logging.getLogger("nipype_group")


class FolderInUseError(RuntimeError):
    """Another run uses the folder."""


class FolderLostError(RuntimeError):
    """The folder was deleted or replaced while a run used it."""


def _start_of(pid):
    """Return the kernel's start time of a live process, None where it cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _process_space():
    """Return what tells apart processes with the same number: host, boot, container."""
    space = [socket.gethostname()]
    with suppress(OSError):
        space.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        space.append(str(Path("/proc/self/ns/pid").readlink()))
    return space


def _write_new(path, about):
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            json.dump(about, file)
    except OSError:
        # On a full disk: a lock that names no process would keep the next run waiting.
        path.unlink(missing_ok=True)
        raise


def _read(path):
    """Return what a lock says; {} where that is not what this package writes."""
    # A folder or a pipe is no lock that could be taken over.
    check_regular(path, path.stat())
    try:
        return read_json(path, _OWNER)
    except ValueError:
        return {}


class FolderLock:
    """Keeps a second run out of a folder, as a context manager.

    A lock left by a killed run is taken over: on the same machine as soon as its process is gone,
    on another one when its heartbeat has stopped for `STALE_SECONDS`.

    Parameters
    ----------
    folder : path
        Made where missing.
    what : str
        Name of the folder in messages, such as "work folder".

    Raises
    ------
    FolderInUseError
        On entry, where a live run uses the folder.
    FolderLostError
        On leaving, and when `check` is called, where the folder was deleted or replaced.
    UnusableFileError
        On entry, where a folder, pipe or the like is in the place of the lock.
    """

    def __init__(self, folder, what="folder"):
        self._folder, self._what = Path(folder), what
        self._path = self._folder / LOCK_NAME
        self._token = uuid.uuid4().hex
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        while not self._create():
            owner = self._owner()
            if owner is not None:
                if self._is_live(owner):
                    raise FolderInUseError(self._message(owner))
                if not owner:
                    LOGGER.warning("%s cannot be read and is old: it is replaced", self._path)
                self._remove(owner)
        self._heart.start()
        return self

    def __exit__(self, kind, error, trace):
        self._released.set()
        self._heart.join()
        lost = self._loss()
        if lost is None:
            self._path.unlink(missing_ok=True)
        elif kind is None or issubclass(kind, Exception):
            # Whatever failed, this is why.
            raise FolderLostError(lost) from error

    def check(self) -> None:
        """Raise `FolderLostError` where the folder is no longer the one that was locked."""
        lost = self._loss()
        if lost is not None:
            raise FolderLostError(lost)

    def _loss(self):
        """Return what became of the folder, None where this run still has it."""
        if self._is_held() and os.access(self._folder, os.W_OK):
            return None
        if not self._folder.exists():
            what = "is gone"
        elif not self._folder.is_dir():
            what = "was replaced by a file"
        elif self._is_held():
            what = "can no longer be written to"
        else:
            what = f"was replaced, or its lock {LOCK_NAME} was"
        return (
            f"the {self._what} {self._folder} {what}: it changed while the run went on, which is "
            "stopped; run the same command again"
        )

    def _is_held(self):
        try:
            return (self._owner() or {}).get("token") == self._token
        except (OSError, ValueError):
            return False

    def _create(self):
        about = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_start": _start_of(os.getpid()),
            "process_space": _process_space(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        # Whole from the start: a lock that a kill leaves names its process.
        beside = self._folder / f"{LOCK_NAME}.{self._token}"
        try:
            _write_new(beside, about)
            try:
                os.link(beside, self._path)
            except FileExistsError:
                # Over a network the answer to a link that was made can be lost.
                return beside.stat().st_nlink > 1
            except OSError:
                # A file system without hard links.
                _write_new(self._path, about)
        except FileExistsError:
            return False
        except OSError as error:
            error.filename = str(self._path)
            raise
        finally:
            beside.unlink(missing_ok=True)
        return True

    def _owner(self):
        """Return what the lock says; {} where it cannot be read, None where there is none."""
        try:
            return _read(self._path)
        except FileNotFoundError:
            return None

    def _is_live(self, owner):
        if owner.get("process_space") == _process_space() and owner.get("process_start"):
            return _start_of(owner["pid"]) == owner["process_start"]
        return self._heartbeat_age() < STALE_SECONDS

    def _heartbeat_age(self):
        """Return seconds since the last heartbeat, both taken from the clock of the disk."""
        probe = self._folder / f"{LOCK_NAME}.{self._token}"
        probe.touch()
        try:
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return STALE_SECONDS
        finally:
            probe.unlink()

    def _remove(self, owner):
        """Take a dead owner's lock away, and no lock that another run has just made."""
        aside = self._folder / f"{LOCK_NAME}.{self._token}"
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        try:
            same = _read(aside) == owner
        except OSError:
            same = False
        if not same:
            with suppress(OSError):
                os.link(aside, self._path)
        aside.unlink()

    def _message(self, owner):
        if not owner:
            return (
                f"the {self._what} {self._folder} may be in use: its lock {self._path} cannot be "
                "read. Where no run uses the folder, delete the lock"
            )
        where = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
        return (
            f"the {self._what} {self._folder} is in use by another run ({where}). "
            f"Wait for its end or take another folder. If that run is dead, this one can start "
            f"{STALE_SECONDS / 60:.0f} minutes after its last sign of life, or at once when "
            f"{self._path} is deleted"
        )

    def _beat(self):
        while not self._released.wait(HEARTBEAT_SECONDS):
            # A lost heartbeat is no reason to stop a run; the next one may get through.
            with suppress(OSError):
                os.utime(self._path)
