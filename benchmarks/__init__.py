"""Claims about time and training: one question a file, JSON in results/, tables in README.md and docs/
printed from it."""
