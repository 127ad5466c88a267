"""Wire-compatible protocol buffers for the client; see wire.proto."""
