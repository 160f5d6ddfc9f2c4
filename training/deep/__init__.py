"""Training below the top: a part of the backbone, opened at a tap, and a head over it. The only place where
jobs use torch."""
