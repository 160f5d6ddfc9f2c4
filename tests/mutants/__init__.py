"""Seeded mutants: of uploaded files, and of models to import; nothing they do may be a surprise."""
