"""The six criteria, one module each. Every `decide` returns a `Finding`."""
