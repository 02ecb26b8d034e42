"""Average activation of a group, one map a subject.

Maps are smoothed by 8 mm; the mean is tested on both sides by the false discovery rate, by
Bonferroni and by sign flips, and true discovery proportions are given for the clusters at z 3, 4
and 5 and for atlas regions.

    python workflows/all_resolutions.py OUT [--bids DIR]

The settings stand in nipype_group.workflows.analyses, the workflow is that of
nipype_group.workflows.init_group_wf. Without --bids it runs on generated data, as the command
``nipype-group demo all_resolutions`` does.
"""

import sys

from nipype_group.cli.demo import run_script


def main(argv=None):
    """Run the analysis; returns the exit code."""
    return run_script("all_resolutions", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
