"""Exhibits as figures: PNG, PDF and the CSV of what they draw."""
