"""A part of a backbone as a trainable torch module, and back: the graph stays, its numbers change."""
