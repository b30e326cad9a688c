"""Sections of the page, one file each: functions of results that return a `Section`, or None where there is nothing."""
