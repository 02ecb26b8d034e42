"""What the batch systems are told and what is read of their answers, whatever is in the paths."""

from pathlib import Path

import pytest

from nipype_group.execution import schedulers
from nipype_group.execution.schedulers import GridEngine, SchedulerError, Slurm


def option(command, name):
    return command[command.index(name) + 1]


def submitted(scheduler, folder):
    log = Path(folder, "x.log")
    return scheduler.submit_command(Path(folder, "x.sh"), "x", log, [], [], ())


@pytest.mark.parametrize(
    ("folder", "written"),
    [
        ("/data/100%j", "/data/100%%j/x.log"),
        # With a backslash nothing is replaced, and backslashes go.
        ("/data/100%j\\n", "/data/100%j\\\\n/x.log"),
        ("/data/it's $(x):, é", "/data/it's $(x):, é/x.log"),
    ],
)
def test_sbatch_replaces_nothing_in_the_log(folder, written):
    assert option(submitted(Slurm(), folder), "-o") == written


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("/data/it's $(x) %j", ("-cwd", "-o", "/data/it's $(x) %j/x.log")),
        ("/data/10:00, b", ("-wd", "/data/10:00, b", "-o", "x.log")),
    ],
)
def test_qsub_takes_one_log(folder, options):
    command = submitted(GridEngine(), folder)
    at = command.index(options[0])
    assert tuple(command[at : at + len(options)]) == options
    assert ("-cwd" in command) != ("-wd" in command)


def test_paths_do_not_tell_the_state_of_a_job(fake):
    fake.tell(
        books="JobId=7 JobName=x JobState=COMPLETED Reason=None ExitCode=0:0 "
        "Command=/data/JobState=FAILED ExitCode=9:0 /x.sh"
    )
    end = Slurm().end_of(7)
    assert (end.said, end.failed, end.exit_status) == ("state COMPLETED, exit code 0:0", False, 0)


@pytest.mark.parametrize("text", ["no jobs", "<q><job_list><state>r</state></job_list></q>"])
def test_a_queue_that_cannot_be_read_is_an_error_of_the_scheduler(text, monkeypatch):
    monkeypatch.setattr(schedulers, "ask", lambda command: text)
    with pytest.raises(SchedulerError, match="qstat prints no XML of jobs"):
        GridEngine().active()
