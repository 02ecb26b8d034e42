"""Results that other packages left on disk."""
