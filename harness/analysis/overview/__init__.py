"""What several suites show together: rates along every axis, and what everything costs."""
