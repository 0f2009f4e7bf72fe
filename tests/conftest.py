"""Stands here so that `support` can be imported from all tests."""
