"""What clients may rely on: the routes, the shapes of requests and responses, and their OpenAPI description."""
