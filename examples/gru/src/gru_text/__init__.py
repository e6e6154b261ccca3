"""A gated recurrent unit as an adapter of the harness."""
