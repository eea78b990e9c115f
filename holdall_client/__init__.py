"""`holdall`, the command line client of a Holdall server. It knows the server by HTTP alone."""
