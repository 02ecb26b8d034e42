"""A folder that one run at a time uses."""

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

LOCK_NAME = ".nipype_group.lock"
# The heartbeat tells other machines that the run lives; ten missed ones mean that it does not.
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 10 * HEARTBEAT_SECONDS


class FolderInUseError(RuntimeError):
    """Another run uses the folder."""


def _start_of(pid):
    """Return the kernel's start time of a live process, None where it cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _process_space():
    """Return what tells apart processes with the same number: host, boot, container."""
    space = [socket.gethostname()]
    with suppress(OSError):
        space.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
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


class FolderLock:
    """Keeps a second run out of a folder, as a context manager.

    A lock left by a killed run is taken over: on the same machine as soon as its process is gone,
    on another one when its heartbeat has stopped for `STALE_SECONDS`.

    Parameters
    ----------
    folder : path
        Made where missing.
    what : str
        Its name in messages, such as "work folder".

    Raises
    ------
    FolderInUseError
        On entry, where a live run uses the folder.
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
                self._remove(owner)
        self._heart.start()
        return self

    def __exit__(self, *_):
        self._released.set()
        self._heart.join()
        if (self._owner() or {}).get("token") == self._token:
            self._path.unlink(missing_ok=True)

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
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

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
            same = json.loads(aside.read_text(encoding="utf-8")) == owner
        except ValueError:
            same = owner == {}
        if not same:
            with suppress(OSError):
                os.link(aside, self._path)
        aside.unlink()

    def _message(self, owner):
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
