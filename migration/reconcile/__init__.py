"""Reconciliation: both sides as canonical rows in Parquet, one expression that compares them, and a second look.

A difference counts when it is still there, unchanged, after everything that was under way at the first look has been
delivered to both sides.
"""
