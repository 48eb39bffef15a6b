"""Records: what lies on disk, read and written here alone."""
