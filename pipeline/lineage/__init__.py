"""Who made what of what: ML Metadata, and questions to it."""
