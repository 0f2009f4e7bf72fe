"""`python -m dnsfw`: the command line."""

from dnsfw.cli.main import main

main()
