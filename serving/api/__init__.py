"""How requests are answered: gRPC, REST, batching, metrics."""
