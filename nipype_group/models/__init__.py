"""BIDS Stats Models: read, checked, and turned into designs, contrasts and settings."""
