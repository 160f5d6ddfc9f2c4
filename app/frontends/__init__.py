"""Several processes for HTTP, one for the engine (docs/adr/0005): `durian serve --workers N`.

`supervisor` starts and restarts them; `posts` is what each is told, `processes` what it does. `line` is a
front-end's end of the connection between them, with `remote` in the engine's place; `host` is the other end.
`frames` and `messages` are what goes over it, and `board` is a few words of memory that all share.
"""
