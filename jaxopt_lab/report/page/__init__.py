"""The page: a sweep's results as one HTML file that needs nothing else."""
