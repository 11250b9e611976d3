"""Face 1: the dash API below /api/ (contract 2-4)."""
