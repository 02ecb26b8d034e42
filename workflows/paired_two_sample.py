"""Difference of two conditions within subjects.

Two maps a subject, a column a subject in the design, z > 3.1 on both sides; permutation exchanges
the two maps of a subject.

    python workflows/paired_two_sample.py OUT [--bids DIR]

Without --bids it runs on the generated demonstration data, as the command line's demo does.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("NO_ET", "1")

from nipype_group.data.generate import generate
from nipype_group.execution import allowed_processors, quiet_nipype, run_workflow
from nipype_group.workflows import init_group_wf
from nipype_group.workflows.analyses import ANALYSES


def main(argv=None):
    """Run the analysis; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output_dir", type=Path, help="folder of the results")
    parser.add_argument("--bids", type=Path, help="BIDS derivatives; default: generated data")
    parser.add_argument("--plugin", default="MultiProc", help="Nipype plugin")
    parser.add_argument("--work-dir", type=Path, help="default OUT/work")
    parser.add_argument("--n-procs", type=int, default=allowed_processors())
    arguments = parser.parse_args(argv)
    output_dir = arguments.output_dir.absolute()
    analysis = ANALYSES["paired_two_sample"]
    data = arguments.bids or generate("paired_two_sample", output_dir / "data")

    workflow = init_group_wf(settings=replace(analysis.settings, n_procs=arguments.n_procs))
    workflow.inputs.inputnode.bids_dir = str(Path(data).absolute())
    workflow.inputs.inputnode.select = list(analysis.select)
    workflow.inputs.inputnode.output_dir = str(output_dir)
    quiet_nipype()
    result = run_workflow(
        workflow,
        work_dir=arguments.work_dir or output_dir / "work",
        plugin=arguments.plugin,
        n_procs=arguments.n_procs,
        progress=True,
    )
    print(f"clusters at z 3.1: {result.outputs['clusters_files'][0]}")
    print(f"clusters by permutation: {result.outputs['clusters_files'][1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
