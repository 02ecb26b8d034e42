"""``nipype-group plan``: what a run would do, told without doing it."""
