"""Requests, replies and the back ends that answer them. Only ``_openai`` imports openai."""
