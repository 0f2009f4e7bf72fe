"""One kind of measurement a module; each case is a function from a Setup to a Result."""
