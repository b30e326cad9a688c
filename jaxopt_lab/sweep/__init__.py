"""The public sweep: a request is checked on the host, planned, run and labelled."""
