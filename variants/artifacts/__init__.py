"""Artifacts and their documents: manifests, the store, the catalog, cards."""
