"""What was made: manifests, the store, the catalog, cards."""
