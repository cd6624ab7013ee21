"""What waits or talks: the clock, the gate, the token cache and the HTTP session."""
