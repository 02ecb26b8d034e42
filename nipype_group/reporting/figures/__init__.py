"""Pictures of results, of the model and of the maps."""
