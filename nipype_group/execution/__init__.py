"""Running workflows under any Nipype plugin."""
