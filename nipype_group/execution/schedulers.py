"""What the batch systems are told and asked, each command checked."""

import os
import pwd
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECONDS_TO_ANSWER = 120


class SchedulerError(RuntimeError):
    """A command of the batch system failed; the message is its own."""


@dataclass(frozen=True)
class JobEnd:
    """What the batch system says about the end of a job.

    Parameters
    ----------
    said : str
        The scheduler's own words; empty where it knows nothing.
    cause : str
        What they mean; empty where they do not tell.
    exit_status : int or None
        Exit status of the job's script, above 128 for a signal.
    failed : bool
        Whether it says that the job did not end well.
    """

    said: str = ""
    cause: str = ""
    exit_status: int | None = None
    failed: bool = False


def ask(command: Sequence[str]) -> str:
    """Run a command of the batch system and return what it prints.

    Raises
    ------
    SchedulerError
        Where it is missing, fails or does not answer.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_SECONDS_TO_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{command[0]} does not answer") from error
    except OSError as error:
        raise SchedulerError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()) or f"exit status {done.returncode}"
        raise SchedulerError(f"{command[0]} failed: {said}")
    return done.stdout


def _user():
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Slurm:
    """Slurm by sbatch, squeue, scontrol, sacct and scancel."""

    name = "Slurm"
    request_template = "-c {n_procs} --mem={mem_mb}M"
    header = "#!/bin/bash"
    arguments_key = "sbatch_args"
    job_id_pattern = r"Submitted batch job (\d+)"

    # States of sacct and scontrol beside COMPLETED, and what they mean.
    _CAUSES = {
        "OUT_OF_MEMORY": "out of memory: give it more (mem_gb, --memory-gb, or --mem)",
        "TIMEOUT": "it reached the time limit of the job: give it more (--time)",
        "DEADLINE": "it reached its deadline",
        "CANCELLED": "it was cancelled",
        "NODE_FAIL": "its machine failed",
        "BOOT_FAIL": "its machine failed to start",
        "PREEMPTED": "another job took its place (preempted)",
    }
    # Reasons for which a waiting job never starts.
    _HOPELESS = (
        "JobHoldMaxRequeue",
        "launch failed requeued held",
        "BadConstraints",
        "DependencyNeverSatisfied",
    )

    def request(
        self,
        template: str | None,
        n_procs: int,
        mem_gb: float,
        fill: Callable[..., list[str]],
    ) -> list[str]:
        """Return the options that ask for processors and memory."""
        return fill(self.request_template if template is None else template, n_procs, mem_gb)

    @staticmethod
    def starts_at_log(log: Path) -> bool:
        """Tell whether a job starts in the folder of its log and not in the current one."""
        return False

    def submit_command(
        self,
        script: str | os.PathLike[str],
        job_name: str,
        log: Path,
        request: Sequence[str],
        arguments: Sequence[str],
        after: Collection[int],
    ) -> list[str]:
        """Return the command that submits a script; the caller's own arguments win."""
        if any(argument.startswith("--mem") for argument in arguments):
            # Slurm refuses two ways of asking for memory.
            request = [option for option in request if not option.startswith("--mem")]
        command = ["sbatch", *request, "-J", job_name, "-o", self._literal(str(log))]
        if after:
            ids = ":".join(map(str, after))
            command += [f"--dependency=afterok:{ids}", "--kill-on-invalid-dep=yes"]
        return [*command, *arguments, str(script)]

    @staticmethod
    def _literal(path):
        """Write a path in which sbatch replaces nothing.

        It replaces signs like %j, where the path has no backslash; else it takes those out.
        """
        if "\\" in path:
            return path.replace("\\", "\\\\")
        return path.replace("%", "%%")

    def active(self) -> dict[int, str | None]:
        """Return the user's jobs in the queue as id to None, or to why one never ends."""
        jobs = {}
        for line in ask(["squeue", "-h", "-u", _user(), "-o", "%A|%T|%r"]).splitlines():
            job_id, state, reason = (line.split("|") + ["", ""])[:3]
            if job_id.strip().isdigit():
                stuck = state == "PENDING" and reason in self._HOPELESS
                jobs[int(job_id)] = f"it cannot start ({reason})" if stuck else None
        return jobs

    def cancel(self, job_ids: Iterable[int]) -> None:
        """Cancel jobs."""
        ask(["scancel", *map(str, job_ids)])

    def script_of(self, job_id: int) -> str | None:
        """Return the script of a job in the queue, None where it is not in the queue."""
        try:
            return ask(["squeue", "-h", "-j", str(job_id), "-o", "%o"]).strip() or None
        except SchedulerError as error:
            if "Invalid job id" in str(error):
                return None
            raise

    def end_of(self, job_id: int) -> JobEnd:
        """Return what is known about the end of a job."""
        try:
            # Without accounting only the controller knows, for some minutes.
            text = ask(["scontrol", "show", "job", str(job_id), "-o"])
            found = re.findall(r"(JobState|Reason|ExitCode)=(\S+)", text)
            # The first of a name is the state; paths, which may hold the same, come later.
            said = dict(reversed(found))
            state, status = said.get("JobState", ""), said.get("ExitCode", "")
        except SchedulerError:
            state, status = self._accounted(job_id)
        if not state:
            return JobEnd()
        code, _, signal = status.partition(":")
        number = int(code or 0) or (128 + int(signal) if signal not in ("", "0") else 0)
        cause = self._CAUSES.get(state, "")
        return JobEnd(
            f"state {state}, exit code {status}",
            cause,
            number,
            failed=bool(cause) or state in ("FAILED", "REVOKED"),
        )

    @staticmethod
    def _accounted(job_id):
        try:
            text = ask(["sacct", "-j", str(job_id), "-X", "-n", "-P", "-o", "State,ExitCode"])
        except SchedulerError:
            return "", ""
        first = (text.splitlines() or [""])[0]
        state, _, status = first.partition("|")
        return (state.split() or [""])[0], status


class GridEngine:
    """Grid Engine by qsub, qstat, qacct and qdel."""

    name = "Grid Engine"
    # A queue need not have a parallel environment for jobs of one processor.
    request_template = "-pe {parallel_environment} {n_procs} -l h_vmem={vmem_mb_per_proc}M"
    _single_template = "-l h_vmem={vmem_mb}M"
    header = "#!/bin/bash\n#$ -S /bin/bash"
    arguments_key = "qsub_args"
    job_id_pattern = r"Your job (\d+)"

    # Numbers of qacct's "failed" of a script that a signal ended; what it runs has 0 there.
    _CAUSES = {
        "37": "it went over a limit of the job (h_rt, h_cpu or h_vmem): give it more",
        "100": "it was deleted (qdel), or went over a limit of job or queue (h_rt, h_vmem)",
    }

    def __init__(self, parallel_environment="smp"):
        self._parallel_environment = parallel_environment

    def request(
        self,
        template: str | None,
        n_procs: int,
        mem_gb: float,
        fill: Callable[..., list[str]],
    ) -> list[str]:
        """Return the options that ask for processors and memory."""
        if template is None:
            template = self._single_template if n_procs == 1 else self.request_template
        return fill(template, n_procs, mem_gb, parallel_environment=self._parallel_environment)

    @staticmethod
    def starts_at_log(log: Path) -> bool:
        """Tell whether a job starts in the folder of its log and not in the current one.

        For qsub a comma in the path of a log parts two logs, and a colon ends the name of a
        machine; only the name of a file has none.
        """
        return "," in str(log) or ":" in str(log)

    def submit_command(
        self,
        script: str | os.PathLike[str],
        job_name: str,
        log: Path,
        request: Sequence[str],
        arguments: Sequence[str],
        after: Collection[int],
    ) -> list[str]:
        """Return the command that submits a script; the caller's own arguments win."""
        # The environment travels, as with sbatch. Names begin with a letter.
        command = ["qsub", "-V", *request, "-N", re.sub(r"^[^A-Za-z]", "J", job_name), "-j", "y"]
        if self.starts_at_log(log):
            command += ["-wd", str(log.parent), "-o", log.name]
        else:
            command += ["-cwd", "-o", str(log)]
        if after:
            command += ["-hold_jid", ",".join(map(str, after))]
        return [*command, *arguments, str(script)]

    def active(self) -> dict[int, str | None]:
        """Return the user's jobs in the queue as id to None, or to why one never ends."""
        text = ask(["qstat", "-u", _user(), "-xml"])
        try:
            states = {
                int(job.findtext("JB_job_number", "")): job.findtext("state", "")
                for job in ET.fromstring(text).iter("job_list")
            }
        except (ET.ParseError, ValueError) as error:
            raise SchedulerError(f"qstat prints no XML of jobs: {text[:200]!r}") from error
        return {
            job_id: self._error_of(job_id) if "E" in state else None
            for job_id, state in states.items()
        }

    @staticmethod
    def _error_of(job_id):
        """Return why a job is in the state of error, in which it waits for ever."""
        why = "the scheduler holds it in the state of error"
        try:
            text = ask(["qstat", "-j", str(job_id)])
        except SchedulerError:
            return why
        found = re.search(r"^error reason\s+\d+:\s*(.*)$", text, re.MULTILINE)
        return f"{why}: {found.group(1)}" if found else why

    def cancel(self, job_ids: Iterable[int]) -> None:
        """Cancel jobs."""
        ask(["qdel", *map(str, job_ids)])

    def script_of(self, job_id: int) -> str | None:
        """Return the script of a job in the queue, None where it is not in the queue."""
        try:
            text = ask(["qstat", "-j", str(job_id)])
        except SchedulerError as error:
            if "do not exist" in str(error):
                return None
            raise
        found = re.search(r"^script_file:\s+(.*)$", text, re.MULTILINE)
        return found.group(1).strip() if found else None

    def end_of(self, job_id: int) -> JobEnd:
        """Return what is known about the end of a job."""
        try:
            text = ask(["qacct", "-j", str(job_id)])
        except SchedulerError:
            return JobEnd()
        said = dict(
            re.findall(r"^(failed|exit_status|deleted_by|maxvmem)\s+(.*?)\s*$", text, re.M)
        )
        number = re.match(r"\d+", said.get("exit_status", ""))
        status = int(number.group()) if number else 0
        failed = said.get("failed", "0")
        cause = self._CAUSES.get(failed.partition(":")[0].strip(), "") if status > 128 else ""
        if said.get("deleted_by", "NONE") != "NONE":
            cause = "it was deleted (qdel)"
        words = f"failed {failed}, exit status {status}"
        if "maxvmem" in said:
            words += f", maxvmem {said['maxvmem']}"
        return JobEnd(words, cause, status, failed=not failed.startswith("0") or status != 0)
