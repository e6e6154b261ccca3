"""One module per kind of report section: the numbers that its tables and figures share."""
