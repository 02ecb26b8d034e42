"""``nipype-group multiverse``: all analyses that there could have been, together."""
