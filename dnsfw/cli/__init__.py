"""The command line: one command a file, `dnsfw/cli/NAME.py` with a function NAME."""
