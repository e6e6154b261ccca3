"""Data that ship with the package, or are generated from keys: real, and the same everywhere."""
