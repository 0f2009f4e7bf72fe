"""Namespaces, a small real internet, and the story that dnsfw was made for; the system tests use the same laboratory."""
