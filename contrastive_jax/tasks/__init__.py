"""What a run can train for."""
