"""What a trace or a run shows when looked into: locality, and why its accesses hit or missed."""
