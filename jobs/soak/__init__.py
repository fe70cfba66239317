"""Make everything fail that can, and look whether anything was lost."""
