"""Predicted beside measured kernel times: rows of a public database, how they are drawn, predicted and judged."""
