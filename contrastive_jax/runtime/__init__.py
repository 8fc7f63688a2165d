"""The process: command line, many processes, being told to stop, compilation, files."""
