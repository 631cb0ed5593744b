"""Wire formats that the server, the engines and the evaluation share."""
