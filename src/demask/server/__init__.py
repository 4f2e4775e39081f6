"""Images for many at once: an engine that batches requests, and an HTTP server around it."""
