"""The document at `/openapi.json`: schemas of requests, schemas of answers, and the operations."""
