"""Faults on purpose: afterwards the lake is what it would be without them."""
