"""What stays open: who is connected, for how long they may be, and what they are told of meanwhile."""
