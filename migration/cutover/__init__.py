"""The cut-over: AWS's share of payments is raised step by step while gates hold, and taken back when one does not."""
