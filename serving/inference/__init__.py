"""Images of requests to predictions. Knows no protocol."""
