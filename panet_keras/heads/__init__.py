"""What turns encoder features of support and query into masks."""
