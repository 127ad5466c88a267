"""What travels with a model or a data set for those who must account for it: model card, list of software,
signature, description of the data."""
