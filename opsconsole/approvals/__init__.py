"""Approvals and reviews: asking for a second person, deciding, and looking at what was done without one."""
