"""What the measurements say of each of the paper's claims: definitions, findings and verdicts."""
