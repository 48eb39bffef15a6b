"""Messages to ids: dialects, labels, end tokens and exact counts."""
