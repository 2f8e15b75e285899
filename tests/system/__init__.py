"""Tests of the whole runner from outside."""
