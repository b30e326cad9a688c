"""Results: labelled arrays, one dataset a sweep, and how they are scored and compared."""
