"""Each family's labelled load through the server, held against its cards."""
