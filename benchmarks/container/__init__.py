"""The container image: docker or podman, the service running in it, and what it costs."""
