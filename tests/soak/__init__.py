"""One service under a steady, mixed load for hours: no error, no restart, and nothing that grows."""
