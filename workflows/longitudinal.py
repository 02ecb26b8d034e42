"""Patients and controls over one to four visits, with dropouts: who changes otherwise.

Random intercepts and slopes of participants over the years of their visits; what patients change
more than controls, the change of controls, and the F contrast of all that is of groups. Beside it
the same contrasts with the sandwich.

    python workflows/longitudinal.py OUT [--bids DIR]

The settings stand in nipype_group.workflows.analyses, the workflow is that of
nipype_group.workflows.init_group_wf. Without --bids it runs on generated data, as the command
``nipype-group demo longitudinal`` does.
"""

import sys

from nipype_group.cli.demo import run_script


def main(argv=None):
    """Run the analysis; returns the exit code."""
    return run_script("longitudinal", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
