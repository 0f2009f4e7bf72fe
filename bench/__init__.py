"""Side by side measurements. Knows the program by its command line; reads the kernel through `nft`, which stands alone."""
