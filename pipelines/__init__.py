"""What happens to messages: pure functions on Arrow batches, and beside them the thin Beam transforms."""
