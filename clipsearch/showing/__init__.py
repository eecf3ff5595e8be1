"""Photos made visible: small pictures of them, a page of them, and the viewer of this machine."""
