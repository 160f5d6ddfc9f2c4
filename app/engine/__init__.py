"""Serving: sessions, batches, heads. No HTTP and no database inside."""
