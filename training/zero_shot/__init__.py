"""Answering with classes that have no example: class vectors, heads over them, and an honest estimate."""
