"""Results as BIDS derivatives: written, never half, and read again."""
