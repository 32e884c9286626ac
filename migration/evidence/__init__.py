"""Evidence: what an auditor reads of a migration, as data, as a page, and under one signature."""
