"""What the numbers are held against."""
