"""An engine that batches requests for images, and an HTTP server around it."""
