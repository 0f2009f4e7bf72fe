"""The record of every question and refusal: plain tuples in, a bounded pipeline, one SQLite store."""
