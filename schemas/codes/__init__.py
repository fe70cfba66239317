"""Code systems and units: literals, and what tells a good code from a bad one."""
