"""Results as a NIDM-Results pack."""
