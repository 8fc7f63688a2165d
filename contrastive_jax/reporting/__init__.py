"""Runs read back from their workdirs, grouped, compared and written as Markdown, CSV and HTML."""
