"""The frame around every screen: modes, crumbs, command line, palette, keys, themes, copying and dumps."""
