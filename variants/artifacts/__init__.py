"""Artifacts and what is known of them: manifests, the store, the catalog, cards."""
