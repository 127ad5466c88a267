"""Pictures and masks as arrays: reading, resizing, drawing."""
