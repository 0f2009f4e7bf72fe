"""Keeps the kernel as the snapshot and the ledger say: the only package, with the agent, that knows both policy and nft."""
