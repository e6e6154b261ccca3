"""What the paper reports, beside what is measured here."""
