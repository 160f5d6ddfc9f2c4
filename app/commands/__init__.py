"""The groups of `durian` commands. Importing them is cheap: what a command needs, it imports when it runs."""
