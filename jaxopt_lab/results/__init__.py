"""Results: labelled arrays, one dataset per sweep, and how they are scored and compared."""
