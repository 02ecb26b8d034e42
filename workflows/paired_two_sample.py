"""Difference of two conditions within subjects.

Two maps a subject and a column a subject in the design; z > 3.1 on both sides, and permutation
that exchanges the two maps of a subject.

    python workflows/paired_two_sample.py OUT [--bids DIR]

The settings stand in nipype_group.workflows.analyses, the workflow is that of
nipype_group.workflows.init_group_wf. Without --bids it runs on generated data, as the command
``nipype-group demo paired_two_sample`` does.
"""

import sys

from nipype_group.cli.demo import run_script


def main(argv=None):
    """Run the analysis; returns the exit code."""
    return run_script("paired_two_sample", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
