"""Devices to measure on: how they are named, reached, used and left as they were."""
