"""What local codes and units mean: concept maps, and the table that is derived of them."""
