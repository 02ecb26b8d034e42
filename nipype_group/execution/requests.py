"""What a job asks of the scheduler, and the script that it runs."""

import math
import os
import shlex
from collections.abc import Sequence

# Resident and virtual memory of an interpreter that has imported the package (230 and 600 MB),
# beside what the node itself takes; each thread reserves an arena of the C library.
INTERPRETER_MB = 300
ADDRESS_SPACE_MB = 800
_ADDRESS_SPACE_MB_PER_THREAD = 128

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def thread_limits(n_procs: int) -> dict[str, str]:
    """Return environment variables that hold libraries to as many threads as a node asked for.

    Examples
    --------
    >>> thread_limits(2)["OMP_NUM_THREADS"]
    '2'
    """
    return dict.fromkeys(_THREAD_VARIABLES, str(n_procs))


def fill_request(template: str, n_procs: int, mem_gb: float, **names: object) -> list[str]:
    """Return the scheduler's options for a node.

    Parameters
    ----------
    template : str
        Options with ``{n_procs}``, ``{mem_mb}`` (the node and the interpreter), ``{vmem_mb}``
        (their address space), the last two also as ``{mem_mb_per_proc}`` and
        ``{vmem_mb_per_proc}``.
    n_procs : int
        Processors of the node.
    mem_gb : float
        Memory of the node in GB.
    **names : str
        Further placeholders.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        Where the template has a placeholder that is not known.

    Examples
    --------
    >>> fill_request("-c {n_procs} --mem={mem_mb}M", n_procs=2, mem_gb=1.5)
    ['-c', '2', '--mem=1836M']
    """
    memory = math.ceil(mem_gb * 1024) + INTERPRETER_MB
    space = math.ceil(mem_gb * 1024) + ADDRESS_SPACE_MB + n_procs * _ADDRESS_SPACE_MB_PER_THREAD
    values = {
        "n_procs": n_procs,
        "mem_mb": memory,
        "mem_mb_per_proc": math.ceil(memory / n_procs),
        "vmem_mb": space,
        "vmem_mb_per_proc": math.ceil(space / n_procs),
        **names,
    }
    try:
        return shlex.split(template.format(**values))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"request_template {template!r} cannot be filled ({error}); "
            f"it may have {', '.join('{' + name + '}' for name in values)}"
        ) from error


def batch_script(
    header: str,
    command: Sequence[str],
    n_procs: int,
    exit_file: str | os.PathLike[str],
    activate: str | Sequence[str] = "",
    folder: str | os.PathLike[str] | None = None,
) -> str:
    """Return the script of a job.

    Parameters
    ----------
    header : str
        First lines.
    command : sequence of str
        What the job runs.
    n_procs : int
        Threads of libraries.
    exit_file : path
        Where the exit status of the command is written: a job that is killed leaves none.
    activate : str or sequence of str
        Shell lines before the command, such as the activation of an environment.
    folder : path, optional
        Where all that runs; default: where the scheduler starts the job.

    Returns
    -------
    str
    """
    lines = [activate] if isinstance(activate, str) else list(activate)
    limits = [f"export {name}={value}" for name, value in thread_limits(n_procs).items()]
    # Nipype's reports of its use: none from jobs, unless they are asked for.
    limits.append('export NIPYPE_NO_ET="${NIPYPE_NO_ET-1}"')
    if folder is not None:
        lines.insert(0, f"cd {shlex.quote(str(folder))}")
    return "\n".join(
        [
            header.strip("\n"),
            *limits,
            *(line for line in lines if line),
            shlex.join(map(str, command)),
            "status=$?",
            f"echo $status > {shlex.quote(str(exit_file))}",
            "exit $status",
            "",
        ]
    )
