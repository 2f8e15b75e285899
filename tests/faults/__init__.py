"""Campaigns of faults: kills, full disks, mutations, power cuts; see harness."""
