"""Reading of laboratory messages."""
