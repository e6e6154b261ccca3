"""What the verbs print: results of planning, launch and analysis as text, tables and JSON."""
