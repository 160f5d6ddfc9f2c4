"""How `audio/durian-small` is made: synthesised speech and sounds, a small network, its export."""
