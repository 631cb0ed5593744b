"""Engines. An engine is a child process that serves its protocol over HTTP on a loopback port.

vLLM's OpenAI server is one as it comes; ours (`http/server.py` and one file a kind of model) follow it:
`GET /health` answers 200 once requests are welcome, SIGTERM ends it. `launch` says how each is started, `process`
starts, watches and ends it. Nothing here imports Ray, so offline evaluation runs the very engine that will serve.
"""
