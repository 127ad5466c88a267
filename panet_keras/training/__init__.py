"""How a model is trained: recipe, loop, optimizer, checkpoints."""
