"""Methods that keep an identity: one file, one method; ``method.Method`` is the promise, ``registry.METHODS`` the list."""
