"""Repeated measures, 3 x 3 within subjects: main effects and interaction.

Nine maps a subject, a column a condition and a column a subject; two t contrasts of conditions and
the F contrast of the interaction.

    python workflows/repeated_measures_anova.py OUT [--bids DIR]

The settings stand in nipype_group.workflows.analyses, the workflow is that of
nipype_group.workflows.init_group_wf. Without --bids it runs on generated data, as the command
``nipype-group demo repeated_measures_anova`` does.
"""

import sys

from nipype_group.cli.demo import run_script


def main(argv=None):
    """Run the analysis; returns the exit code."""
    return run_script("repeated_measures_anova", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
