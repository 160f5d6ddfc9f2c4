"""The service: HTTP, database, engine, workers. Never imports torch."""
