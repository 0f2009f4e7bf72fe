"""nftables from Python: values, transactions, a raw netlink path for elements, and a fake kernel with the same rules.

Stands alone: imports nothing of the program it lives beside.
"""
