"""Flows, gains, intervals, exact paired tests, controls, transfer."""
