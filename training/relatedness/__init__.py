"""Before training: which backbone and tap suit some examples, and which setting of transfer this is."""
