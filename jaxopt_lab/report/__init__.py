"""Reports for people: progress, leaderboards, pictures."""
