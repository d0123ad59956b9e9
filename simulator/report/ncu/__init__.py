"""Nsight Compute's words: a result as `ncu --csv` would print it, and real profiles read and laid beside a result.

`metrics` says what means the same, `page` writes, `profile` reads, `comparison` matches and divides.
"""
