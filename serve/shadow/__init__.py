"""Replays of live requests on shadow variants."""
