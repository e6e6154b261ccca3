"""Scaling rates: power-law fits, bootstrap intervals, gates, verdicts and planning simulations."""
