"""Per-pod DNS egress firewall: a pod reaches only what DNS has just told it, for names its rules allow."""
