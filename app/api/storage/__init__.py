"""Face 2: the storage API (contract 5 and 6)."""
