"""Tests of the whole runner under a real Windows Python, natively or under wine; see conftest."""
