"""Association of activation with a behavioural score, one map a subject.

Maps are smoothed by 5 mm and regressed on the score. The effect is tested on its positive side by
the false discovery rate, by Bonferroni (-log10 p) and by permutation of the maximum t (-log10 p).

    python workflows/association.py OUT [--bids DIR]

The settings stand in nipype_group.workflows.analyses, the workflow is that of
nipype_group.workflows.init_group_wf. Without --bids it runs on generated data, as the command
``nipype-group demo association`` does.
"""

import sys

from nipype_group.cli.demo import run_script


def main(argv=None):
    """Run the analysis; returns the exit code."""
    return run_script("association", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
