"""Questions in, answers out: messages, cache, the exchange, upstreams, listeners."""
