"""The recipe of the backbone `image/durian-small`: pictures made by formula, one small network."""
