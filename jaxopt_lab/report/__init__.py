"""What a person sees: progress, leaderboards, pictures."""
