"""How large chunks are, which way runs fastest, and what a plan will take."""
