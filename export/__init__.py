"""From a run directory to a SavedModel for TF Serving, and a client for the server."""
