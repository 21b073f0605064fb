"""A whole synchronization as two directories carry it out, for two health systems at once; then what came of it."""
