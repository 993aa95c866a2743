"""The reliability scorecard: rows, and each row as a test."""
