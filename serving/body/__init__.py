"""HTTP request bodies to the bytes of images."""
