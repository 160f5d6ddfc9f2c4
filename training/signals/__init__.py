"""What can be done to 1-D signals and functions, as pure arithmetic: no job, no backbone, no files."""
