"""What runs the graph: components and artifacts as types, the cache, and a runner for each engine."""
