"""Opinions on pairs whose answers differ: kept answers for people and late labels, and a judge."""
