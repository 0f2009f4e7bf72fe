"""What the running process says about itself: status, grants, audit and metrics over HTTP on a Unix socket or a TCP port."""
