"""Same or different: comparing with stored references, and the threshold between the two."""
