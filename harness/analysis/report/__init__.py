"""The report: one self-contained HTML file of verdicts, exhibits, runs, definitions, disclosure."""
