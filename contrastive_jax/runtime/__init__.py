"""The process: command line, many processes, stop signals, compilation, files."""
