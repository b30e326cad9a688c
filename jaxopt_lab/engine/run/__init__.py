"""Execution of a plan: chunks on threads, from rung to rung."""
