"""Does a number grow along another: least-squares slope, rank correlation, and what they allow."""
