"""Several processes for HTTP, one for the engine (docs/adr/0005): `durian serve --workers N`.

`supervisor` starts and restarts them; `posts` is what each is told, `processes` what it does. `line` is a
front-end's end of the connection between them, with `remote` and `advisor` in the place of the engine and the
training side; `host` is the engine's end, `desk` what it answers.
`frames` and `messages` are what goes over it, and `board` is a few words of memory that all share.
"""
