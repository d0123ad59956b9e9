"""Predictions beside measurements: measured curves, how curves are compared, and suites with their tolerances."""
