"""Pure decisions: no event loop, no sockets, no clock. What they need to know of time is handed in."""
