"""Where rules and pods come from: documents in files -> a `World`, switched as one."""
