"""Show: a look at what lies on disk, for a person; it changes nothing."""
