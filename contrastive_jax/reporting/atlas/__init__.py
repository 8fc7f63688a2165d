"""The difficulty atlas: one page to look through the samples of a data set."""
