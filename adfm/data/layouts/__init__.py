"""Data sets as their authors publish them, one module per layout."""
