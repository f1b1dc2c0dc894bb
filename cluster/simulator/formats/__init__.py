"""Trace formats, one file each: `requests(path, seed)` streams what the file holds, in order of arrival."""
