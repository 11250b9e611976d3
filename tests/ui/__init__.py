"""Tests of the dashboard, in process."""
