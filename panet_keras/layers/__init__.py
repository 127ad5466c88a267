"""Pure functions and layers of which heads are built: prototypes, similarity, attention."""
