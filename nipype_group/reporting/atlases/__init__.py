"""Names for places: atlases found, checked and asked."""
