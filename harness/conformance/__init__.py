"""The checks that every adapter must pass, ours and third parties'; `harness check` runs them."""
